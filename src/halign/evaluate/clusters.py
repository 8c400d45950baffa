"""Conversations as clusters: their numbering, the variance of a mean of influences, and resampling."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def coded(clusters: Sequence[Hashable]) -> tuple[Codes, int]:
    """Number the clusters in order of appearance: int64 [n] from 0, and how many there are.

    >>> coded(["b", "a", "b"])[0].tolist(), coded(["b", "a", "b"])[1]
    ([0, 1, 0], 2)
    """
    order: dict[Hashable, int] = {}
    return np.array([order.setdefault(c, len(order)) for c in clusters], dtype=np.int64), len(order)


def summed(values: Floats, codes: Codes, groups: int) -> Floats:
    """Sum of ``values`` [n] or [n, p] over each cluster: [G] or [G, p]."""
    found = np.zeros((groups, *values.shape[1:]))
    np.add.at(found, codes, values)
    return found


def covariance(influences: Floats, codes: Codes, groups: int) -> Floats:
    """Cluster-robust covariance of an estimate with these influences [n, p]: G/(G-1) sum_g u_g u_g' / n^2, float64 [p, p].

    An influence is what one observation adds: estimate - truth = mean of influences, to first order; u_g is their sum over
    cluster g (Liang and Zeger 1986).

    Raises:
        ValueError: a single cluster, whose spread nobody can know.
    """
    if groups < 2:
        raise ValueError(f"an interval needs at least two conversations, got {groups}")
    u = summed(influences, codes, groups)
    found: Floats = groups / (groups - 1) * (u.T @ u) / len(influences) ** 2
    return found


def quantile(level: float, groups: int) -> float:
    """Of the t distribution with G - 1 degrees of freedom, for a two-sided interval at ``level``."""
    return float(stats.t.ppf((1 + level) / 2, groups - 1))


def resampled(groups: int, resamples: int, seed: int) -> Codes:
    """How often each cluster occurs in each bootstrap sample of G clusters: int64 [resamples, G], rows sum to G."""
    even = np.full(groups, 1 / groups)
    return np.random.default_rng(seed).multinomial(groups, even, size=resamples)
