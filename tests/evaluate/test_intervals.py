"""Intervals by hand, against the bootstrap, and by the coverage they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from halign.evaluate import advantage, bootstrap, bounded, difference, mean, share
from halign.evaluate.intervals import rate


def test_mean_by_hand():
    """x = 1 0 | 1 1, two conversations: m = 3/4; r = (1/4 - 3/4, 1/4 + 1/4) = (-1/2, 1/2);
    variance = 2/1 * (1/4 + 1/4) / 16 = 1/16, so the half width is t(1, .975) / 4.
    """
    i = mean([1, 0, 1, 1], ["a", "a", "b", "b"])
    assert i.value == 0.75
    assert i.high - i.value == pytest.approx(stats.t.ppf(0.975, 1) / 4)
    assert (i.n, i.clusters) == (4, 2)


def test_single_turn_conversations_give_the_textbook_interval():
    x = np.random.default_rng(0).normal(size=50)
    i = mean(x, range(50))
    assert i.high - i.value == pytest.approx(stats.t.ppf(0.975, 49) * x.std(ddof=1) / 50**0.5)
    low, high = stats.t.interval(0.95, 49, loc=x.mean(), scale=stats.sem(x))
    assert (i.low, i.high) == pytest.approx((low, high))


def test_duplicating_every_turn_leaves_the_clustered_interval_alone():
    x = np.random.default_rng(1).random(40)
    once, twice = mean(x, range(40)), mean(np.repeat(x, 2), np.repeat(range(40), 2))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert twice.high - twice.low > 1.3 * (lambda i: i.high - i.low)(mean(np.repeat(x, 2), range(80)))


def conversations(rng, clusters=60, rate=0.8):
    """Turns of unequal conversations, with a rate that varies between conversations (mean ``rate``)."""
    sizes = rng.integers(1, 8, size=clusters)
    rates = rng.beta(4 * rate, 4 * (1 - rate), size=clusters)
    x = np.concatenate([rng.random(n) < p for n, p in zip(sizes, rates, strict=True)])
    return x, np.repeat(np.arange(clusters), sizes)


@pytest.mark.parametrize("interval", [mean, share, lambda x, c: bootstrap(x, c, resamples=400)])
@pytest.mark.parametrize("rate", [0.5, 0.85])
def test_intervals_cover_the_truth_as_often_as_they_say(interval, rate):
    """95 % nominal; 400 simulations have a standard error of 1.1 points, so 91.5 to 98.5 is what may be
    seen.
    """
    rng = np.random.default_rng(2)
    hits = [i.low <= rate <= i.high for i in (interval(*conversations(rng, rate=rate)) for _ in range(400))]
    assert 0.915 <= np.mean(hits) <= 0.985


def test_ignoring_clusters_would_cover_too_rarely():
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(300):
        x, c = conversations(rng)
        naive = mean(x, range(len(c)))
        hits.append(naive.low <= 0.8 <= naive.high)
    assert np.mean(hits) < 0.91


def test_bootstrap_and_closed_form_agree():
    x, c = conversations(np.random.default_rng(4), clusters=150)
    a, b = mean(x, c), bootstrap(x, c, resamples=4000)
    assert a.value == b.value
    assert (a.low, a.high) == pytest.approx((b.low, b.high), abs=0.01)
    s = share(x, c)
    assert (s.low, s.high) == pytest.approx((a.low, a.high), abs=0.02)


def test_a_share_of_one_is_not_certainty():
    i = share([True] * 30, np.repeat(range(10), 3))
    assert i.value == i.high == 1.0
    assert 0.6 < i.low < 0.75  # Wilson for 10 of 10 with t(9): 10 / (10 + t^2)
    assert i.low == pytest.approx(10 / (10 + stats.t.ppf(0.975, 9) ** 2))
    assert share([False], ["a"]).high < 1.0


def test_paired_difference_uses_the_pairing():
    rng = np.random.default_rng(5)
    hard = rng.normal(size=100)
    a, b = hard + 0.1 + 0.01 * rng.normal(size=100), hard
    i = difference(a, b, range(100))
    assert i.excludes_zero
    assert i.high - i.low < 0.01
    assert difference(b, a, range(100)).value == pytest.approx(-i.value)


def test_no_difference_seen_is_not_equality_proven():
    i = advantage([0.0] * 20, range(20))
    t = stats.t.ppf(0.975, 19)
    assert i.value == 0.0
    assert i.high == -i.low == pytest.approx(t**2 / (20 + t**2))  # Wilson for 0 of 20
    some = [0.0, 1.0, -1.0, 0.5] * 5
    assert advantage(some, range(20)) == mean(some, range(20))


def test_what_has_bounds_stays_within_them():
    """Three conversations: t with 2 degrees of freedom is 4.30, so the mean's own interval reaches beyond."""
    a, b, c = [1, 1, 1, 1], [0, 0, 0, 1], ["a", "b", "c", "c"]
    free, cut = difference(a, b, c), difference(a, b, c, scale=(0.0, 1.0))
    assert free.high > 1
    assert (cut.value, cut.low, cut.high) == (0.75, free.low, 1.0)
    assert difference(b, a, c, scale=(0.0, 1.0)).low == -1.0
    grades = difference([10, 1, 1], [1, 1, 1], "abc", scale=(1.0, 10.0))
    assert (grades.value, grades.low, grades.high) == (3.0, -9.0, 9.0)
    with pytest.raises(ValueError, match="within -1 and 1"):
        difference([3.0, 0.0], [0.0, 0.0], "ab", scale=(0.0, 1.0))
    with pytest.raises(ValueError, match="within 0 and 1"):
        bounded([0.5, 1.5], "ab", (0.0, 1.0))


def test_a_difference_seen_everywhere_is_no_certainty():
    """Ten wins in ten conversations: u = t^2 / (10 + t^2) of them may be losses unseen, each 2 lower."""
    i = advantage([1.0] * 10, range(10))
    u = stats.t.ppf(0.975, 9) ** 2 / (10 + stats.t.ppf(0.975, 9) ** 2)
    assert (i.value, i.high) == (1.0, 1.0)
    assert i.low == pytest.approx(1 - 2 * u)
    worse = advantage([-1.0] * 10, range(10))
    assert (worse.low, worse.high) == pytest.approx((-1.0, -i.low))
    half = advantage([0.5] * 10, range(10))
    assert (half.low, half.high) == pytest.approx((0.5 - 1.5 * u, 0.5 + 0.5 * u))
    assert (
        difference([2.0] * 3, [0.0] * 3, "abc").low == 2.0
    )  # without bounds nobody knows how far it may be off


def test_what_cannot_be_known_is_an_error():
    with pytest.raises(ValueError, match="two conversations"):
        mean([1.0, 2.0], ["a", "a"])
    with pytest.raises(ValueError, match="no values"):
        share([], [])
    with pytest.raises(ValueError, match="finite"):
        mean([1.0, float("nan")], ["a", "b"])
    with pytest.raises(ValueError, match="1 values but 2"):
        mean([1.0], ["a", "b"])


def test_two_conversations_tell_little():
    """With two clusters the spread is known by one degree of freedom: a normal quantile would cover 75 %, not 95."""
    rng = np.random.default_rng(3)
    clusters = ["a"] * 20 + ["b"] * 20
    covered = 0
    for _ in range(300):
        chances = np.repeat(rng.beta(2, 2, size=2), 20)
        values = (rng.random(40) < chances).astype(float)
        i = rate(values.tolist(), clusters)
        covered += i.low <= 0.5 <= i.high
    assert covered / 300 > 0.92
