"""When a comparison ends, and which pairs it takes: against enumeration, closed forms, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from halign.evaluate.bradley_terry import POINTS, bradley_terry
from halign.evaluate.intervals import Interval, advantage
from halign.evaluate.matches import Matches
from halign.evaluate.planning import TIE, Observed, contrast, half_width, next_pairs, strengths
from halign.judges.protocol import Verdict
from halign.judges.records import PairRecord


def observed(rows):
    found = Observed()
    for i, (pair, value) in enumerate(rows):
        found.add(pair, value, i)
    return found


def test_two_models_have_the_strengths_of_the_closed_form():
    """7 of 10 won: with half a tie, P = 7.25 / 10.5 and s_0 - s_1 is its log-odds; the sandwich over 10 conversations by hand."""
    found = strengths(observed([((0, 1), 1.0)] * 7 + [((0, 1), -1.0)] * 3), 2)
    p = (7 + TIE / 2) / (10 + TIE)
    assert found.values[0] - found.values[1] == pytest.approx(math.log(p / (1 - p)))
    assert found.values.sum() == pytest.approx(0)
    information = 10.5 * p * (1 - p)
    meat = (7 * (1 - p) ** 2 + 3 * p**2) * 10 / 9
    x = contrast(2, (0, 1))
    assert x @ found.covariance @ x == pytest.approx(meat / information**2)
    got = found.advantage(0, 1)
    half = 2.262157 * 2 * p * (1 - p) * (meat / information**2) ** 0.5
    assert (got.value, got.value - got.low) == (pytest.approx(2 * p - 1), pytest.approx(half, rel=1e-5))
    assert found.half_width(0, 1) == pytest.approx(
        2.262157 * ((half / 2.262157) ** 2 + 1 / 100) ** 0.5, rel=1e-5
    )


def test_turns_of_one_conversation_are_no_witnesses_of_their_own():
    alone, together = Observed(), Observed()
    for c in range(8):
        for turn in range(4):
            alone.add((0, 1), 1.0 if c % 2 else -1.0, (c, turn))
            together.add((0, 1), 1.0 if c % 2 else -1.0, c)
    spread = [strengths(o, 2).covariance[0, 0] ** 0.5 for o in (alone, together)]
    assert spread[1] / spread[0] == pytest.approx(2 * ((8 / 7) / (32 / 31)) ** 0.5)


def test_the_fit_is_the_maximum_of_the_quasi_likelihood():
    rng = np.random.default_rng(0)
    rows = [(p, rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0])) for p in [(0, 1), (1, 2), (0, 2), (2, 3)] * 6]
    found = strengths(observed(rows), 4)

    def likelihood(s):
        def one(pair, y):
            d = s[pair[0]] - s[pair[1]]
            return y * -math.log1p(math.exp(-d)) + (1 - y) * -math.log1p(math.exp(d))

        ties = [TIE * one((i, j), 0.5) for i in range(4) for j in range(i)]
        return sum(one(p, (1 + v) / 2) for p, v in rows) + sum(ties)

    best = likelihood(found.values)
    for direction in rng.normal(size=(50, 4)):
        assert likelihood(found.values + 0.05 * direction) <= best + 1e-12


def test_strengths_are_the_ratings_with_half_a_tie_of_every_two_models():
    """Another path to values and errors: ``bradley_terry`` in points, of records."""
    rng = np.random.default_rng(2)
    rows = [(p, rng.choice([-1.0, 0.0, 1.0])) for p in [(0, 1), (1, 2), (0, 2)] * 8]
    verdict = {-1.0: Verdict.B, 0.0: Verdict.BOTH, 1.0: Verdict.A}
    records = [
        PairRecord(f"i{i}", f"c{i}", "d", "j", "mno"[p[0]], "mno"[p[1]], verdict[v], verdict[v])
        for i, (p, v) in enumerate(rows)
    ]
    matches = Matches.of(records)
    rated = bradley_terry(matches, prior=TIE, resamples=2)
    found = strengths(observed(rows), 3)
    assert [(rated.ratings[m].value - 1000) / POINTS for m in "mno"] == pytest.approx(found.values.tolist())
    at = [matches.models.index(m) for m in "mn"]
    x = contrast(3, (0, 1))
    assert rated.differences[at[0], at[1]] == pytest.approx(POINTS * (x @ found.covariance @ x) ** 0.5)


def test_one_conversation_shows_no_spread():
    one = Observed()
    for _ in range(50):
        one.add((0, 1), 1.0, "c")
    found = strengths(one, 2)
    assert found.half_width(0, 1) == math.inf
    assert (found.advantage(0, 1).low, found.advantage(0, 1).high) == (-1.0, 1.0)


def test_models_that_nothing_connects_have_no_interval():
    found = strengths(observed([((0, 1), 1.0)] * 5), 3)
    assert found.half_width(0, 2) == math.inf
    assert found.half_width(0, 1) < math.inf
    linked = strengths(observed([((0, 1), 0.0)] * 40 + [((1, 2), 0.0)] * 40), 3)
    worth = linked.half_width(0, 2)  # two links of 40 in a row are worth 20 direct ones
    assert worth == pytest.approx(1.99 * (1 / 20), rel=0.02)


def test_the_next_pair_is_the_one_that_narrows_the_widest_interval_most():
    """Chosen by refitting with each candidate added (as half a win, half a loss: all its information, no news)."""
    rows = [((0, 1), 1.0), ((0, 1), -1.0)] * 10 + [((1, 2), 1.0), ((1, 2), -1.0)] * 2
    needed = [(0, 1), (0, 2), (1, 2)]
    found = strengths(observed(rows), 3)
    inverse = np.linalg.pinv(found.information)
    (chosen,) = next_pairs(found, needed, [needed])
    left = {}
    for pair in needed:
        x = contrast(3, pair)
        more = np.linalg.pinv(found.information + 0.25 * np.outer(x, x))
        left[pair] = contrast(3, (0, 2)) @ more @ contrast(3, (0, 2))
    assert max(needed, key=lambda p: contrast(3, p) @ inverse @ contrast(3, p)) == (0, 2)
    assert chosen == min(left, key=lambda p: left[p])
    assert next_pairs(found, needed, [[], [(0, 1)]]) == [None, (0, 1)]
    spread = next_pairs(strengths(Observed(), 3), needed, [needed] * 30)
    assert sorted(spread.count(p) for p in needed) == [10, 10, 10]


def test_a_beginning_without_spread_does_not_end_it():
    same = Interval(1.0, 1.0, 1.0, 20, 20)
    assert half_width(same) == pytest.approx(2.093 / 20, rel=1e-3)


def stopped(values, target, chunk):
    """The interval when the rule ends a comparison of one value a conversation."""
    n = 2 * chunk
    while n < len(values):
        found = advantage(values[:n].tolist(), range(n))
        if half_width(found) <= target:
            return found
        n += chunk
    return advantage(values.tolist(), range(len(values)))


@pytest.mark.parametrize(("chances", "runs"), [((0.3, 0.5, 0.2), 150), ((0.02, 0.95, 0.03), 150)])
def test_intervals_of_comparisons_that_end_by_the_rule_cover_the_truth(chances, runs):
    """Looked at after every 16 comparisons, half-width .1; figures of a longer simulation are in docs/log.md."""
    rng, truth = np.random.default_rng(1), chances[0] - chances[2]
    found = [stopped(rng.choice([1.0, 0.0, -1.0], size=1500, p=chances), 0.1, 16) for _ in range(runs)]
    assert max(f.high - f.low for f in found) <= 0.2
    assert sum(f.low <= truth <= f.high for f in found) / runs > 0.89
    assert np.mean([f.n for f in found]) < 450
