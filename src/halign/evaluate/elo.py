"""Elo ratings, as published leaderboards compute them: updates one comparison after another, averaged over orders.

    r_a <- r_a + K (s - 1 / (1 + 10^((r_b - r_a) / 400))),  s = 1 a win, 1/2 a tie, 0 a loss; r_b loses what r_a gains.

The result depends on the order of the comparisons, which means nothing where models do not change; the mean over random orders
does not. It lags behind Bradley-Terry's ratings where comparisons are few (it starts with everyone at 1000 and moves K points at
most at a time), and is here to compare with numbers that others state. Prefer ``bradley_terry``.
"""

from __future__ import annotations

import numpy as np

from halign.errors import HalignError
from halign.evaluate.bradley_terry import CENTRE
from halign.evaluate.clusters import Floats, resampled
from halign.evaluate.intervals import Interval
from halign.evaluate.matches import Matches

_CELLS = 20_000_000  # comparisons in all orders that are held at once


def elo(
    matches: Matches,
    *,
    k: float = 4.0,
    orders: int = 100,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, Interval]:
    """Model -> its rating averaged over ``orders`` random orders, with the percentile interval over resampled conversations.

    Args:
        k: most that one comparison moves, in points. 4 is Chatbot Arena's, 32 FastChat's first; larger ones forget sooner.
        orders: random orders that the rating is the mean of. Each resample is averaged over ten, which leaves a tenth of one
            order's noise in the interval.

    Raises:
        HalignError: fewer than two conversations.
    """
    codes, groups = matches.clusters
    if groups < 2:
        raise HalignError(f"ratings need comparisons from at least two conversations, got {groups}")
    rng, n, m = np.random.default_rng(seed), len(matches), len(matches.models)
    whole = np.stack([rng.permutation(n) for _ in range(orders)])
    values = _in_chunks(matches, whole, k).mean(0)
    drawn = []
    for times in resampled(groups, resamples, seed):
        rows = np.repeat(np.arange(n), times[codes])
        drawn.append(_in_chunks(matches, np.stack([rng.permutation(rows) for _ in range(10)]), k).mean(0))
    low, high = np.quantile(np.array(drawn), [(1 - level) / 2, (1 + level) / 2], axis=0)
    count = np.bincount(np.concatenate([matches.a, matches.b]), minlength=m)
    return {
        name: Interval(float(values[i]), float(low[i]), float(high[i]), int(count[i]), groups)
        for i, name in enumerate(matches.models)
    }


def _in_chunks(matches: Matches, order: np.ndarray, k: float) -> Floats:
    size = max(1, _CELLS // max(1, order.shape[1]))
    parts = [elo_in_order(matches, order[i : i + size], k=k) for i in range(0, len(order), size)]
    return np.concatenate(parts)


def elo_in_order(matches: Matches, order: np.ndarray, *, k: float) -> Floats:
    """Final ratings after the comparisons in each of these orders: int64 [S, T] of rows -> float64 [S, m]."""
    ratings = np.full((len(order), len(matches.models)), CENTRE)
    each, score = np.arange(len(order)), matches.score
    for rows in order.T:
        a, b = matches.a[rows], matches.b[rows]
        expected = 1 / (1 + 10 ** ((ratings[each, b] - ratings[each, a]) / 400))
        change = k * (score[rows] - expected)
        ratings[each, a] += change
        ratings[each, b] -= change
    return ratings
