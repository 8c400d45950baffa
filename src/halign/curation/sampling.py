"""How many rows of which source, and which ones: exact, seeded, and such that smaller sets stand in larger ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from halign.errors import HalignError


def shares(weights: Sequence[float], temperature: float = 1.0) -> list[float]:
    """w^(1/T), made to sum to 1: T = 1 leaves weights as they are, a large T makes all alike.

    With the sources' sizes as weights this is the sampling of multilingual models (Devlin et al. 2018; Conneau et al. 2020, whose
    alpha is 1/T).

    >>> shares([3, 1]), shares([9, 1], temperature=2)
    ([0.75, 0.25], [0.75, 0.25])

    Raises:
        HalignError: a weight that is negative or no number, none above 0, or a temperature of 0 or less.
    """
    if not temperature > 0:
        raise HalignError(f"temperature: {temperature} is not above 0")
    if not all(0 <= w < np.inf for w in weights) or not any(weights):
        raise HalignError(
            f"weights {', '.join(f'{w:g}' for w in weights)}: all have to be 0 or more, and one above 0"
        )
    top = max(weights)
    heated = [(w / top) ** (1 / temperature) if w else 0.0 for w in weights]
    return [w / sum(heated) for w in heated]


def apportion(size: int, wanted: Sequence[float], at_least: Sequence[int] | None = None) -> list[int]:
    """Whole counts that add up to ``size``, by the largest remainder (Hamilton): every source gets the whole part of its quota,
    and what is left goes to the largest fractions, ties to the first.

    Args:
        wanted: shares that sum to 1.
        at_least: counts that a smaller set has already; every further row goes to the source that is furthest below its quota,
            which is the same method begun later. Without it a larger set may hold fewer of a source than a smaller one (the
            Alabama paradox).

    >>> apportion(10, [0.7, 0.2, 0.1]), apportion(10, [1 / 3, 1 / 3, 1 / 3]), apportion(3, [0.5, 0.5])
    ([7, 2, 1], [4, 3, 3], [2, 1])
    """
    quotas = np.asarray(wanted, float) * size
    counts = np.floor(quotas + 1e-9).astype(int)
    if at_least is not None:
        counts = np.maximum(counts, at_least)
        if counts.sum() > size:
            counts = np.array(at_least, int)
    while (left := size - int(counts.sum())) > 0:
        lacking = np.round(quotas - counts, 9)
        first = np.argsort(-lacking, kind="stable")[: min(left, max(1, int((lacking > 0).sum())))]
        counts[first if (lacking[first] < 1).all() else first[:1]] += 1
    return [int(c) for c in counts]


def times_drawn(order: np.ndarray, count: int) -> np.ndarray:
    """How often each of n rows is drawn for ``count`` draws: without replacement, and after all are used up again from the start.

    Args:
        order: a permutation of n; the rows that stand first are drawn first, so that a smaller count draws a subset.

    Returns:
        int [n], which sums to ``count``; no two differ by more than 1.
    """
    rounds, rest = divmod(count, len(order)) if len(order) else (0, 0)
    drawn = np.full(len(order), rounds, np.int64)
    drawn[order[:rest]] += 1
    return drawn


def interleaved(counts: Sequence[int]) -> np.ndarray:
    """Which source each place of the mix is from: int [sum]; the j-th row of c stands at (j + 1/2) / c of the way, so that every
    stretch of the mix holds its share of each.

    >>> interleaved([4, 2]).tolist()
    [0, 1, 0, 0, 1, 0]
    """
    where = np.concatenate([(np.arange(c) + 0.5) / c if c else np.empty(0) for c in counts])
    which = np.repeat(np.arange(len(counts)), counts)
    return which[np.lexsort((which, where))]
