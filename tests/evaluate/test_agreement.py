"""Kappa, alpha, corrected rates: published examples, scikit-learn, and by what intervals promise."""

from __future__ import annotations

import numpy as np
import pytest

from halign.errors import HalignError
from halign.evaluate.agreement import cohen_kappa, krippendorff_alpha, repeatability
from halign.evaluate.correction import corrected_rate

N = None
# Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers, twelve units
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]


@pytest.mark.parametrize(
    ("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_krippendorffs_example(metric, published):
    i = krippendorff_alpha(list(zip(*OBSERVERS, strict=True)), metric=metric, resamples=50)
    assert round(i.value, 3) == published
    assert i.n == 40  # pairable values
    assert i.low < i.value < i.high


def test_alpha_by_hand():
    """Two raters, units (a, a), (a, b): o_ab = 1 each way of n = 4, n_a = 3, n_b = 1: 1 - 3 * 1 / (3 * 1) = 0."""
    assert krippendorff_alpha([[0, 0], [0, 1]], resamples=5).value == pytest.approx(0)
    with pytest.raises(HalignError, match="all ratings are the same"):
        krippendorff_alpha([[1, 1], [1, 1]])
    with pytest.raises(HalignError, match="at least two ratings"):
        krippendorff_alpha([[1, None]])


def test_kappa_by_hand_and_its_published_error():
    """20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: p_o = .7, p_e = .5 * .6 + .5 * .4 = .5, kappa = .4.

    The large-sample variance (Fleiss, Cohen and Everitt 1969, formula 13), in its form: {sum p_ii [1 - (p_i. + p_.i)(1 - k)]^2
    + (1 - k)^2 sum_{i != j} p_ij (p_.i + p_j.)^2 - [k - p_e (1 - k)]^2} / [n (1 - p_e)^2].
    """
    a, b = [1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    i = cohen_kappa(a, b, range(50))
    assert i.value == pytest.approx(0.4)
    p, row, col, k, e = np.array([[15, 10], [5, 20]]) / 50, [0.5, 0.5], [0.4, 0.6], 0.4, 0.5
    v = sum(p[j, j] * (1 - (row[j] + col[j]) * (1 - k)) ** 2 for j in (0, 1))
    v += (1 - k) ** 2 * sum(p[j, 1 - j] * (col[j] + row[1 - j]) ** 2 for j in (0, 1)) - (k - e * (1 - k)) ** 2
    error = (v / (50 * (1 - e) ** 2)) ** 0.5
    from scipy import stats

    assert (i.high - i.value) / stats.t.ppf(0.975, 49) == pytest.approx(error * (50 / 49) ** 0.5)


@pytest.mark.parametrize("weights", [None, "linear", "quadratic"])
def test_kappa_against_scikit_learn(weights):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    a = rng.integers(1, 5, size=200)
    b = np.where(rng.random(200) < 0.6, a, rng.integers(1, 5, size=200))
    assert cohen_kappa(a.tolist(), b.tolist(), range(200), weights=weights).value == pytest.approx(
        metrics.cohen_kappa_score(a, b, weights=weights)
    )


def simulated_kappa(rng, groups):
    """Pairs of answers in conversations of 1 to 4; the population's kappa is .5: p_o = .75 of two even answers."""
    sizes = rng.integers(1, 5, size=groups)
    a = np.repeat(rng.random(groups) < 0.5, sizes)
    b = np.where(np.repeat(rng.random(groups) < 0.25, sizes), ~a, a)
    return a.tolist(), b.tolist(), np.repeat(np.arange(groups), sizes)


def test_kappas_interval_covers():
    rng = np.random.default_rng(1)
    found = [cohen_kappa(*simulated_kappa(rng, 80)) for _ in range(200)]
    assert 0.90 <= np.mean([i.low <= 0.5 <= i.high for i in found]) <= 0.99  # standard error 1.5 points


def test_a_judge_asked_twice():
    r = repeatability(list("AABB"), list("ABBB"), range(4))
    assert r.same.value == 0.75
    assert r.kappa.value == pytest.approx(0.5)  # p_e = .5 * .25 + .5 * .75 = .5
    assert repeatability("AA", "AA", range(2)).kappa is None


def labelled(rng, n, theta, se, sp):
    person = rng.random(n) < theta
    return person, np.where(person, rng.random(n) < se, rng.random(n) >= sp)


def test_corrected_rate_by_hand():
    """p = .5; se = 9/10, sp = 8/10: theta = (.5 + .8 - 1) / .7 = 3/7. Variances with single items of their own conversation:
    p: 20/19 * .25/20; se: .09/10, sp: .16/10, each as a share of the 20 labelled: 20/19 in front."""
    judged = [True] * 10 + [False] * 10
    says, person = [True] * 9 + [False] + [True] * 2 + [False] * 8, [True] * 10 + [False] * 10
    c = corrected_rate(judged, range(20), says, person, range(20, 40))
    assert (c.sensitivity.value, c.specificity.value) == (0.9, 0.8)
    assert c.corrected.value == pytest.approx(3 / 7)
    v = 20 / 19 * (0.25 / 20 + (3 / 7) ** 2 * 0.09 / 10 + (4 / 7) ** 2 * 0.16 / 10) / 0.7**2
    from scipy import stats

    assert c.corrected.high - 3 / 7 == pytest.approx(stats.t.ppf(0.975, 19) * v**0.5)
    assert (c.resampled.low, c.resampled.high) == pytest.approx((c.corrected.low, c.corrected.high), abs=0.07)


def test_a_correction_by_labels_of_what_was_judged():
    """Ten conversations of one reply, all judged and all labelled: theta is then the labelled share, and its error that of a
    mean of labels, whatever the judge says. Two samples of the same numbers know less."""
    person = [True] * 6 + [False] * 4
    says = [True] * 5 + [False] + [True] + [False] * 3
    c = corrected_rate(says, range(10), says, person, range(10))
    p, se, sp, theta = 0.6, 5 / 6, 3 / 4, 0.6
    assert c.corrected.value == pytest.approx(theta)  # (.6 + .75 - 1) / (.8333 + .75 - 1)
    slope, u = se + sp - 1, []
    for says_so, is_so in zip(says, person, strict=True):
        of_p = says_so - p
        of_se = (says_so - se) / 0.6 if is_so else 0.0
        of_sp = ((not says_so) - sp) / 0.4 if not is_so else 0.0
        u.append((of_p + (1 - theta) * of_sp - theta * of_se) / slope)
    assert u == pytest.approx(
        [1 - theta if is_so else -theta for is_so in person]
    )  # those of a mean of labels
    from scipy import stats

    half = stats.t.ppf(0.975, 9) * (10 / 9 * sum(v**2 for v in u)) ** 0.5 / 10
    assert c.corrected.high == pytest.approx(min(1.0, theta + half))
    assert c.corrected.low == pytest.approx(theta - half)
    apart = corrected_rate(says, range(10), says, person, range(10, 20))
    assert apart.corrected.low < c.corrected.low - 0.1
    assert c.resampled.low == pytest.approx(
        np.quantile(np.random.default_rng(0).binomial(10, 0.6, 9999) / 10, 0.025), abs=0.101
    )


def test_a_judge_without_a_clue_corrects_nothing():
    with pytest.raises(HalignError, match="no better than chance"):
        corrected_rate([True], [0], [True, True], [True, False], [0, 1])
    with pytest.raises(HalignError, match="all of one kind"):
        corrected_rate([True], [0], [True, True], [True, True], [0, 1])


def correction_coverage(times, seed):
    rng, hits = np.random.default_rng(seed), []
    for _ in range(times):
        _, judged = labelled(rng, 300, 0.7, 0.85, 0.8)
        person, says = labelled(rng, 200, 0.5, 0.85, 0.8)
        c = corrected_rate(judged, range(300), says, person, range(300, 500), resamples=300)
        hits.append(
            [i.low <= 0.7 <= i.high for i in (c.corrected, c.resampled)]
            + [c.judged.low <= 0.7 <= c.judged.high]
        )
    return np.mean(hits, axis=0)


def test_corrected_intervals_cover_where_the_judges_own_do_not():
    """What the judge passes is .7 * .85 + .3 * .2 = .655; 150 simulations, standard error 1.8 points."""
    found = correction_coverage(150, 2)
    assert (found[:2] >= 0.90).all()
    assert found[2] < 0.75


def shared_coverage(times, seed):
    """As above, but people labelled 120 of the 300 that were judged, two turns a conversation whose quality is shared."""
    rng, hits = np.random.default_rng(seed), []
    for _ in range(times):
        chance = np.repeat(rng.beta(3.5, 1.5, size=150), 2)
        person = rng.random(300) < chance
        judged = np.where(person, rng.random(300) < 0.85, rng.random(300) >= 0.8)
        c = np.arange(300) // 2
        found = corrected_rate(judged, c, judged[:120], person[:120], c[:120], resamples=300)
        hits.append([i.low <= 0.7 <= i.high for i in (found.corrected, found.resampled)])
    return np.mean(hits, axis=0)


def test_corrected_intervals_cover_where_people_labelled_some_of_what_was_judged():
    """100 simulations: standard error 2.2 points."""
    assert (shared_coverage(100, 6) >= 0.885).all()


@pytest.mark.long
def test_corrected_intervals_cover_where_people_labelled_some_as_often_as_they_say():
    """1,500 simulations: standard error 0.6 points."""
    found = shared_coverage(1500, 7)
    assert ((found > 0.93) & (found < 0.97)).all(), found


@pytest.mark.long
def test_corrected_intervals_cover_as_often_as_they_say():
    found = correction_coverage(2000, 3)
    assert ((found[:2] > 0.93) & (found[:2] < 0.97)).all(), found
