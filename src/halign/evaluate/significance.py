"""Is a difference more than chance? Paired tests between conversations, and what remains when many are made."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from scipy import stats

from halign.errors import HalignError
from halign.evaluate.clusters import coded, covariance, summed

_EXACT = 16  # clusters that do not cancel; 2^16 sign patterns are enumerated, more are drawn


def clustered_t(differences: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Two-sided p of the t test that the mean difference is 0, with the cluster-robust variance and G - 1 degrees of freedom.

    The test that inverts ``intervals.mean``: p < .05 where its 95 % interval excludes 0. Good from some 30 clusters on.

    Args:
        differences: [n], paired: A's value less B's on the same prompt.

    Raises:
        ValueError: a single cluster.
    """
    x = np.asarray(differences, dtype=float)
    codes, groups = coded(clusters)
    variance = float(covariance((x - x.mean())[:, None], codes, groups)[0, 0])
    if variance == 0:
        return 1.0 if x.mean() == 0 else 0.0
    return float(2 * stats.t.sf(abs(x.mean()) / variance**0.5, groups - 1))


def sign_flip(
    differences: Sequence[float], clusters: Sequence[Hashable], *, resamples: int = 9999, seed: int = 0
) -> float:
    """Two-sided p of the permutation test that A and B could change names within every conversation.

    All differences of a conversation change sign together; p is the share of sign patterns whose sum is at least as far from 0 as
    the one seen. Exact (every pattern) up to 16 conversations whose sums are not 0; beyond that (hits + 1) / (resamples + 1) over
    drawn patterns (Phipson and Smyth 2010). On single binary answers it is McNemar's exact test.

    >>> sign_flip([1, 1, 1, 0], ["a", "b", "c", "d"])  # 2 of the 8 patterns of three
    0.25

    Args:
        differences: [n], paired: A's value less B's on the same prompt.
    """
    codes, groups = coded(clusters)
    sums = summed(np.asarray(differences, dtype=float), codes, groups)
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    seen = abs(float(sums.sum())) * (
        1 - 1e-12
    )  # sums of the same numbers in another order differ in the last bit
    if len(sums) <= _EXACT:
        patterns = (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1) * 2 - 1
        return float(np.mean(np.abs(patterns @ sums) >= seen))
    rng, hits, block = np.random.default_rng(seed), 0, max(1, 4_000_000 // len(sums))
    for start in range(0, resamples, block):
        signs = rng.integers(0, 2, size=(min(block, resamples - start), len(sums))) * 2 - 1
        hits += int(np.sum(np.abs(signs @ sums) >= seen))
    return (hits + 1) / (resamples + 1)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p of each test, in order: the family-wise error rate is kept whatever the tests' dependence (Holm 1979).

    max over j <= i of min(1, (m - j + 1) p_(j)), p_(1) the smallest.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    x, m = _checked(p), len(p)
    order = np.argsort(x, kind="stable")
    stepped = np.minimum(1, np.maximum.accumulate((m - np.arange(m)) * x[order]))
    return _placed(stepped, order)


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p of each test, in order: the expected share of false among what is called different is kept, for independent or
    positively dependent tests (Benjamini and Hochberg 1995).

    min over j >= i of min(1, m p_(j) / j), p_(1) the smallest.

    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    x, m = _checked(p), len(p)
    order = np.argsort(x, kind="stable")
    raw = m * x[order] / np.arange(1, m + 1)
    return _placed(np.minimum(1, np.minimum.accumulate(raw[::-1])[::-1]), order)


CORRECTIONS: Mapping[str, tuple[str, Callable[[Sequence[float]], list[float]]]] = {
    "none": ("without correction", list),
    "holm": ("after Holm", holm),
    "benjamini-hochberg": ("after Benjamini and Hochberg", benjamini_hochberg),
}
"""Correction for many comparisons -> (what a table calls its p, p of all tests -> adjusted p)."""


def corrected(p: Sequence[float], correction: str) -> list[float]:
    """Adjusted p of each test, in order.

    Raises:
        HalignError: there is no such correction.
    """
    if correction not in CORRECTIONS:
        raise HalignError(f"correction {correction!r} is none of {', '.join(CORRECTIONS)}")
    return CORRECTIONS[correction][1](p)


def _checked(p: Sequence[float]) -> np.ndarray:
    x = np.asarray(p, dtype=float)
    if not ((x >= 0) & (x <= 1)).all():
        raise HalignError("p must lie within 0 and 1")
    return x


def _placed(stepped: np.ndarray, order: np.ndarray) -> list[float]:
    found = np.empty(len(order))
    found[order] = stepped
    return [float(v) for v in found]
