"""Bradley-Terry, Davidson, Elo and style: by hand, against scikit-learn's optimum, and by what intervals promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from halign.errors import HalignError
from halign.evaluate.bradley_terry import POINTS, bradley_terry, hanging_apart
from halign.evaluate.choice import binary, fit, inverse, probabilities
from halign.evaluate.elo import elo, elo_in_order
from halign.evaluate.matches import Matches
from halign.evaluate.style import STYLES, covariates, style, style_controlled
from halign.judges import Verdict
from halign.judges.records import GradeRecord, PairRecord


def made(a, b, results, conversations=None, models="abc"):
    """Matches from indices and (won, lost, tied) rows."""
    n = len(a)
    conversations = conversations if conversations is not None else range(n)
    return Matches(
        tuple(models),
        np.array(a),
        np.array(b),
        np.array(results, dtype=float),
        tuple(str(c) for c in conversations),
        tuple(f"q{i}" for i in range(n)),
    )


WON, LOST, TIED = (1, 0, 0), (0, 1, 0), (0, 0, 1)


def drawn(rng, truth, n, turns=1, tie=0.0, spread=0.0):
    """n comparisons in conversations of ``turns`` between the same two models, with a shift that a conversation shares."""
    m, groups = len(truth), n // turns
    a = rng.integers(m, size=groups)
    b = (a + rng.integers(1, m, size=groups)) % m
    a, b, c = (np.repeat(v, turns) for v in (a, b, np.arange(groups)))
    d = truth[a] - truth[b] + np.repeat(spread * rng.normal(size=groups), turns)
    weights = np.stack([np.exp(d / 2), np.exp(-d / 2), np.full(n, tie)], 1)
    outcome = (rng.random(n)[:, None] > np.cumsum(weights / weights.sum(1, keepdims=True), 1)).sum(1)
    return made(a, b, np.eye(3)[outcome], c, "abcdefgh"[:m])


def test_verdicts_become_results_and_those_without_are_counted():
    pair = ("q", "c", "adherence", "j", "x", "y")
    m = Matches.of(
        [
            PairRecord(*pair, Verdict.A, Verdict.A),
            PairRecord(*pair, Verdict.A, Verdict.B),
            PairRecord(*pair, Verdict.BOTH, Verdict.A),
            PairRecord(*pair, Verdict.A, None, trouble="failed"),
        ]
    )
    assert m.results.tolist() == [[1, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5]]
    assert m.score.tolist() == [1, 0.5, 0.75]
    assert m.left_out == 1
    with pytest.raises(HalignError, match="1 have none"):
        Matches.of([PairRecord(*pair, None, None, trouble="failed")])


def test_of_grades_on_one_item_the_higher_wins():
    def grade(item, model, value, judge="j"):
        return GradeRecord(
            item, "c", "helpfulness", judge, model, value, (1, 10), trouble=None if value else "failed"
        )

    m = Matches.of_grades(
        [
            *(grade("q", "x", 3.0), grade("q", "y", 4.0), grade("r", "x", 5.0), grade("r", "y", 5.0)),
            *(grade("s", "x", 5.0), grade("s", "y", None), grade("s", "y", 9.0, judge="k")),
        ]
    )
    assert m.models == ("x", "y")
    assert m.results.tolist() == [[0, 1, 0], [0, 0, 1]]
    assert m.left_out == 1


def test_two_models_by_hand():
    """3 wins of 4: r_a - r_b = ln 3 nats, 190.8 points. Its variance is 1/(n p (1 - p)) by the information, with G/(G - 1) and
    independent conversations the sandwich's is 4/3 of that."""
    r = bradley_terry(made([0] * 4, [1] * 4, [WON, WON, WON, LOST], models="ab"), resamples=20)
    gap = r.ratings["a"].value - r.ratings["b"].value
    assert gap == pytest.approx(POINTS * math.log(3), abs=1e-6)
    assert r.differences[0, 1] == pytest.approx(POINTS * (4 / 3 / (4 * 0.75 * 0.25)) ** 0.5)
    assert r.ratings["a"].value + r.ratings["b"].value == pytest.approx(2000)
    assert r.beats("a", "b") == pytest.approx(0.75)


def test_order_within_a_comparison_does_not_matter():
    m = drawn(np.random.default_rng(0), np.array([0.5, 0.0, -0.5]), 60, tie=0.5)
    turned = made(m.b, m.a, m.results[:, [1, 0, 2]], m.conversations)
    for ties in ("half", "davidson"):
        x, y = bradley_terry(m, ties=ties, resamples=5), bradley_terry(turned, ties=ties, resamples=5)
        for name in m.models:
            assert (x.ratings[name].low, x.ratings[name].high) == pytest.approx(
                (y.ratings[name].low, y.ratings[name].high)
            )


def test_minorise_maximise_finds_the_same_ratings():
    """Hunter's MM iteration (2004), p_i = wins_i / sum_j n_ij / (p_i + p_j), is another way to the maximum."""
    m = drawn(np.random.default_rng(1), np.array([0.8, 0.0, -0.5, 0.3]), 200, tie=0.4)
    won = np.zeros((4, 4))
    np.add.at(won, (m.a, m.b), m.score)
    np.add.at(won, (m.b, m.a), 1 - m.score)
    p, met = np.ones(4), won + won.T
    for _ in range(5000):
        p = won.sum(1) / (met / (p[:, None] + p[None])).sum(1)
        p /= p.sum()
    expected = 1000 + POINTS * (np.log(p) - np.log(p).mean())
    found = bradley_terry(m, resamples=5)
    assert [found.ratings[k].value for k in m.models] == pytest.approx(expected.tolist(), abs=1e-5)


def test_davidson_satisfies_its_likelihood_equations():
    """At the maximum, expected ties equal those seen, and each model's expected wins + ties/2 equal what it made."""
    m = drawn(np.random.default_rng(2), np.array([0.8, 0.0, -0.5]), 300, tie=0.7)
    r = bradley_terry(m, ties="davidson", resamples=5)
    strength = {k: math.exp(r.ratings[k].value / POINTS) for k in m.models}
    made_by, ties = dict.fromkeys(m.models, 0.0), 0.0
    for i, j in zip(m.a, m.b, strict=True):
        x, y = strength[m.models[i]], strength[m.models[j]]
        whole = x + y + r.tie * math.sqrt(x * y)
        made_by[m.models[i]] += (x + r.tie * math.sqrt(x * y) / 2) / whole
        made_by[m.models[j]] += (y + r.tie * math.sqrt(x * y) / 2) / whole
        ties += r.tie * math.sqrt(x * y) / whole
    assert ties == pytest.approx(m.results[:, 2].sum(), rel=1e-8)
    seen = np.bincount(m.a, m.score, 3) + np.bincount(m.b, 1 - m.score, 3)
    assert [made_by[k] for k in m.models] == pytest.approx(seen.tolist(), rel=1e-8)


def test_gradient_against_finite_differences():
    rng = np.random.default_rng(3)
    x, observed = rng.normal(size=(30, 3, 2)), rng.random((30, 3))
    w = fit(x, observed)

    def value(w):
        return float((observed * np.log(probabilities(x, w))).sum())

    for step in np.eye(2) * 1e-5:
        assert (value(w + step) - value(w - step)) / 2e-5 == pytest.approx(0, abs=1e-6)
        assert value(w + 1e3 * step) < value(w) > value(w - 1e3 * step)


def test_a_model_that_never_lost_has_no_finite_rating_without_a_prior():
    m = made([0, 0, 1, 2], [1, 2, 2, 1], [WON, WON, WON, WON])
    assert hanging_apart(m) == (["a"], ["b", "c"])
    with pytest.raises(HalignError, match="no path of wins or ties leads from b, c to a; set prior="):
        bradley_terry(m)
    r = bradley_terry(m, prior=0.5, resamples=20)
    assert r.ratings["a"].value > r.ratings["b"].value == pytest.approx(r.ratings["c"].value)
    with pytest.raises(HalignError, match="foretold without error"):
        fit(binary(np.ones((3, 1))), np.array([[1.0, 0.0]] * 3))
    assert hanging_apart(made([0, 1], [1, 2], [TIED, TIED])) is None


def coverage(times, seed, **options):
    """Shares of simulations in which the sandwich's and the bootstrap's interval hold the truth of the first model."""
    rng, hits = np.random.default_rng(seed), []
    truth = np.array([0.6, 0.0, -0.2, -0.4])
    tie = 0.6 if options.get("ties") == "davidson" else 0.0
    for _ in range(times):
        r = bradley_terry(drawn(rng, truth, 240, turns=2, tie=tie), **options)
        hits.append([i.low <= 1000 + POINTS * 0.6 <= i.high for i in (r.ratings["a"], r.resampled["a"])])
    return np.mean(hits, axis=0)


def test_intervals_of_ratings_cover():
    """40 simulations: standard error 3.4 points."""
    assert (coverage(40, 4, resamples=60) >= 0.84).all()


@pytest.mark.long
@pytest.mark.parametrize("ties", ["half", "davidson"])
def test_intervals_of_ratings_cover_as_often_as_they_say(ties):
    """400 simulations: standard error 1.1 points."""
    found = coverage(400, 5, ties=ties, resamples=200)
    assert ((found > 0.915) & (found < 0.985)).all(), found


def test_ignoring_conversations_makes_ratings_too_sure():
    m = drawn(np.random.default_rng(6), np.array([0.3, 0.0, -0.3]), 600, turns=10, spread=1.5)
    alone = made(m.a, m.b, m.results)
    clustered, naive = bradley_terry(m, resamples=5), bradley_terry(alone, resamples=5)
    assert clustered.ratings["a"].value == pytest.approx(naive.ratings["a"].value)
    assert clustered.differences[0, 1] > 1.4 * naive.differences[0, 1]


def test_elo_by_hand():
    """A win between equals moves half of K; then 1016 against 984 is expected to make 1/(1 + 10^(-32/400)) = .5460."""
    m = made([0, 0], [1, 1], [WON, TIED], models="ab")
    first = elo_in_order(m, np.array([[0]]), k=32)
    assert first.tolist() == [[1016.0, 984.0]]
    both = elo_in_order(m, np.array([[0, 1], [1, 0]]), k=32)
    assert both[0, 0] == pytest.approx(1016 + 32 * (0.5 - 1 / (1 + 10 ** (-32 / 400))))
    assert both[1].tolist() == [1016.0, 984.0]
    assert elo(m, k=32, orders=200, resamples=5)["a"].value == pytest.approx((both[0, 0] + 1016) / 2, abs=0.2)


def test_elo_orders_models_as_bradley_terry_does():
    m = drawn(np.random.default_rng(7), np.array([1.0, 0.0, -1.0]), 600)
    e, bt = elo(m, k=8, orders=20, resamples=20), bradley_terry(m, resamples=5)
    assert [e[k].value for k in m.models] == pytest.approx([bt.ratings[k].value for k in m.models], abs=40)
    assert all(i.low < i.value < i.high for i in e.values())


def test_style_counts_what_is_seen():
    assert style("plain words here") == (3, 0, 0, 0)
    assert style("## Head\n\n1. a\n2) b\n* c\n**x y** and __z__") == (12, 1, 3, 2)
    assert style("```\n# no header\n- no list\n```") == (8, 0, 0, 0)
    assert style("2 * 3 ** 2 ** 1") == (7, 0, 0, 0)


def test_covariates_by_hand():
    z = covariates(
        [[3, 0], [1, 0]], [[1, 0], [1, 0]]
    )  # (3 - 1)/(3 + 1 + 1) = .4, 0; root mean square .4/sqrt 2
    assert z[:, 0] == pytest.approx([2**0.5, 0])
    assert not z[:, 1].any()
    assert covariates([[1.0]], [[3.0]])[0, 0] == -covariates([[3.0]], [[1.0]])[0, 0]


def test_a_model_that_wins_by_length_alone_is_no_better_with_style_held_equal():
    """Model a writes longer, the judge prefers length and sees nothing else: raw ratings part, controlled ones do not."""
    rng, n = np.random.default_rng(8), 800
    a, b = np.repeat([0, 0, 1], n)[: 3 * n], np.repeat([1, 2, 2], n)
    long = rng.integers(20, 60, size=(3 * n, 2)) + np.stack(
        [np.where(a == 0, 15, 0), np.zeros(3 * n, int)], 1
    )
    texts = [["w " * k for k in side] for side in long.T]
    z = covariates(long[:, :1], long[:, 1:])[:, 0]
    won = rng.random(3 * n) < 1 / (1 + np.exp(-0.9 * z))
    m = made(a, b, np.where(won[:, None], WON, LOST))
    raw, held = bradley_terry(m, resamples=5), style_controlled(m, *texts)
    assert raw.ratings["a"].low > 1030
    assert held.ratings["a"].low < 1000 < held.ratings["a"].high
    assert tuple(held.coefficients) == STYLES[:1]
    assert held.coefficients["length"].low < 0.9 < held.coefficients["length"].high


def test_style_that_follows_from_the_model_is_refused():
    m = made([0, 0], [1, 1], [WON, LOST], models="ab")
    with pytest.raises(HalignError, match="cannot be told apart"):
        style_controlled(m, ["a b c", "a b c"], ["a", "a"])


def test_rounding_in_the_direction_in_which_nothing_is_known_is_not_taken_for_knowledge():
    """Ratings that shift alike change nothing; some processors round that eigenvalue to a few 1e-15 of the largest."""
    laplacian = np.array([[2.0, -1.0, -1.0], [-1.0, 2.0, -1.0], [-1.0, -1.0, 2.0]])
    found = inverse(laplacian + 5e-15 * np.ones((3, 3)))
    assert np.abs(found @ np.ones(3)).max() < 1e-9
    assert found @ laplacian @ [1.0, -1.0, 0.0] == pytest.approx([1.0, -1.0, 0.0])
