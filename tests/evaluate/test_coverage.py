"""Do intervals hold the truth as often as they say? By simulation; those of win rates, Bradley-Terry and Davidson ratings, kappa,
corrected rates and length control stand beside their other tests.
"""

from __future__ import annotations

import numpy as np
import pytest

from halign.evaluate.agreement import krippendorff_alpha
from halign.evaluate.bradley_terry import POINTS
from halign.evaluate.elo import elo
from halign.evaluate.style import style_controlled
from tests.evaluate.test_ratings import LOST, WON, drawn, made


def elo_coverage(times, seed):
    """Shares of simulations in which the interval of the first and of the last model holds the mean rating over many samples of
    the same size: Elo has no truth beyond what it makes of n comparisons in random order."""
    truth = np.array([0.6, 0.0, -0.6])
    rng, found = np.random.default_rng(seed), []
    for _ in range(times):
        e = elo(drawn(rng, truth, 120, turns=2), k=8, orders=20, resamples=100)
        found.append([(e[m].value, e[m].low, e[m].high) for m in "ac"])
    value, low, high = np.moveaxis(np.array(found), 2, 0)
    return ((low <= value.mean(0)) & (value.mean(0) <= high)).mean(0)


@pytest.mark.long
def test_intervals_of_elo_cover_as_often_as_they_say():
    """300 simulations: standard error 1.3 points."""
    found = elo_coverage(300, 10)
    assert ((found > 0.91) & (found < 0.985)).all(), found


def style_coverage(times, seed, groups=120):
    """Shares of simulations in which the intervals of a rating and of the coefficient of length hold the truth: preferences by
    the model itself, two turns a conversation, replies whose length a conversation shares.

    Covariates are divided by their root mean square in the sample, so the truth of the coefficient is that times the law's.
    """
    rng, hits = np.random.default_rng(seed), []
    truth, worth = np.array([0.5, 0.0, -0.5]), 1.5
    for _ in range(times):
        a = np.repeat(rng.integers(3, size=groups), 2)
        b = (a + np.repeat(rng.integers(1, 3, size=groups), 2)) % 3
        own = np.repeat(rng.integers(0, 40, size=(groups, 2)), 2, axis=0)
        words = 20 + own + rng.integers(0, 20, size=own.shape) + np.stack([a == 0, b == 0], 1) * 20
        ratio = (words[:, 0] - words[:, 1]) / (words.sum(1) + 1)
        won = rng.random(2 * groups) < 1 / (1 + np.exp(-(truth[a] - truth[b] + worth * ratio)))
        m = made(a, b, np.where(won[:, None], WON, LOST), np.repeat(range(groups), 2))
        r = style_controlled(m, *[["w " * k for k in side] for side in words.T])
        scale = np.sqrt((ratio**2).mean())
        i, c = r.ratings["a"], r.coefficients["length"]
        hits.append([i.low <= 1000 + POINTS * 0.5 <= i.high, c.low <= worth * scale <= c.high])
    return np.mean(hits, axis=0)


def test_intervals_with_style_held_cover():
    """60 simulations: standard error 2.8 points."""
    assert (style_coverage(60, 11) >= 0.85).all()


@pytest.mark.long
def test_intervals_with_style_held_cover_as_often_as_they_say():
    """1,000 simulations: standard error 0.7 points."""
    found = style_coverage(1000, 12)
    assert ((found > 0.925) & (found < 0.975)).all(), found


def alpha_coverage(times, seed, metric, units=80):
    """Three raters give one of five values, each the unit's own or (two times in five) any; a tenth of the ratings is missing.

    Two raters agree by more than chance with probability .6 .6, so alpha is .36 for each metric: where a rater does not see the
    unit's value, the distance is that of two independent values.
    """
    rng, hits = np.random.default_rng(seed), []
    for _ in range(times):
        own = rng.integers(1, 6, size=(units, 1))
        said = np.where(rng.random((units, 3)) < 0.6, own, rng.integers(1, 6, size=(units, 3))).astype(float)
        gone = rng.random((units, 3)) < 0.1
        rows = [
            [None if g else v for v, g in zip(*both, strict=True)] for both in zip(said, gone, strict=True)
        ]
        i = krippendorff_alpha(rows, metric=metric, resamples=200)
        hits.append(i.low <= 0.36 <= i.high)
    return np.mean(hits)


def test_alphas_interval_covers():
    """40 simulations: standard error 3.4 points."""
    assert alpha_coverage(40, 4, "interval") >= 0.84


@pytest.mark.long
@pytest.mark.parametrize("metric", ["nominal", "ordinal", "interval"])
def test_alphas_interval_covers_as_often_as_it_says(metric):
    """500 simulations: standard error 1 point."""
    assert 0.915 <= alpha_coverage(500, 5, metric) <= 0.98
