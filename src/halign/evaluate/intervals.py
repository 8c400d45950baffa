"""Means and shares with 95 % intervals that know that turns of one conversation are not independent.

Everything is clustered: values come with the conversation they belong to, and the spread is taken between
conversations. Without that, ten turns of one conversation would count as ten witnesses.

>>> mean([1, 0, 1, 1], ["a", "a", "b", "b"], level=0.95).value
0.75
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from halign.evaluate.clusters import coded, covariance, quantile

ROUNDING = 1e-12
"""A spread that is a smaller share of the values than this is rounding: clusters that are all alike have none."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the interval around it.

    Attributes:
        n: values it rests on.
        clusters: conversations they come from.
    """

    value: float
    low: float
    high: float
    n: int
    clusters: int

    @property
    def excludes_zero(self) -> bool:
        """True if the interval lies wholly on one side of zero."""
        return self.low > 0 or self.high < 0

    def within(self, low: float, high: float) -> Interval:
        """The interval cut to what its quantity can be: of few conversations it may reach beyond.

        >>> str(Interval(0.9, 0.5, 1.3, 4, 2).within(0, 1))
        '0.90 [0.50, 1.00]'
        """
        return replace(self, low=max(low, self.low), high=min(high, self.high))

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def mean(values: Sequence[float], clusters: Sequence[Hashable], *, level: float = 0.95) -> Interval:
    """The mean of all values and its cluster-robust interval.

    With m the mean of n values in G clusters and r_g the sum of (x - m) over cluster g, the variance is
    G/(G-1) * sum_g r_g^2 / n^2 (the linearised ratio estimator, so clusters may differ in size), and the
    interval m ± t(G-1) standard errors.

    Raises:
        ValueError: no values, or a single cluster, whose spread nobody can know.
    """
    return mean_of(moments(values, clusters), level)


def share(values: Sequence[bool], clusters: Sequence[Hashable], *, level: float = 0.95) -> Interval:
    """The share of True and an interval that stays within [0, 1] and does not vanish at 0 and 1.

    Wilson's interval with the effective sample size n / design effect, where the design effect is the
    clustered variance over the variance of independent draws (at least 1). Where every value is the same,
    that effect cannot
    be seen and the number of clusters stands in for n: nine conversations without a fault do not prove
    perfection.
    """
    return share_of(moments(values, clusters), level)


def rate(values: Sequence[float], clusters: Sequence[Hashable], *, level: float = 0.95) -> Interval:
    """The mean of values in [0, 1] that may be fractions (a win 1, a tie 1/2), and its interval within [0, 1].

    As ``share``, but ties spread less than draws of 0 and 1 would: n is replaced by p(1 - p) / clustered variance, however
    large. Where no value differs from another, by the number of clusters.

    Raises:
        ValueError: a value outside [0, 1], or none.
    """
    if len(values) and not (min(values) >= 0 and max(values) <= 1):
        raise ValueError("values must lie within 0 and 1")
    return rate_of(moments(values, clusters), level)


def bootstrap(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean and its percentile interval over resampled conversations. Agrees with ``mean`` where both
    apply.
    """
    x, codes, groups = _grouped(values, clusters)
    sums = np.bincount(codes, weights=x, minlength=groups)
    counts = np.bincount(codes, minlength=groups)
    drawn = np.random.default_rng(seed).integers(groups, size=(resamples, groups))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(x.mean()), float(low), float(high), len(x), groups)


def bounded(
    values: Sequence[float],
    clusters: Sequence[Hashable],
    scale: tuple[float, float],
    *,
    level: float = 0.95,
) -> Interval:
    """The mean of values within a scale, with an interval that stays within it and never vanishes.

    As ``mean``, cut to the scale. Where all values are the same, the spread cannot be seen: as many clusters as could differ
    unseen (the upper end of a share of none) may then lie at either end of the scale. Ten wins in ten conversations do not
    prove that there are no losses.

    Raises:
        ValueError: a value outside the scale; or as ``mean``.
    """
    low, high = scale
    x, rounding = np.asarray(values, dtype=float), 1e-6 * (high - low)
    if len(x) and (x.min() < low - rounding or x.max() > high + rounding):
        raise ValueError(f"values must lie within {low:g} and {high:g}")
    if len(x) and (x == x[0]).all():
        unseen = share([False] * len(x), clusters, level=level)
        at, u = float(x[0]), unseen.high
        return Interval(at, at - (at - low) * u, at + (high - at) * u, unseen.n, unseen.clusters)
    return mean(values, clusters, level=level).within(low, high)


def advantage(values: Sequence[float], clusters: Sequence[Hashable], *, level: float = 0.95) -> Interval:
    """The mean of values in [-1, 1] (better, no difference, worse), and its interval (``bounded``)."""
    return bounded(values, clusters, (-1.0, 1.0), level=level)


def difference(
    a: Sequence[float],
    b: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    scale: tuple[float, float] | None = None,
    level: float = 0.95,
) -> Interval:
    """Mean of a - b over the same prompts, clustered by conversation.

    A paired test at 1 - level: does the interval exclude zero?

    Args:
        scale: what a and b lie within, (0, 1) for shares: the interval then stays within what their difference can be, and does
            not vanish where all differences are the same (``bounded``). None: a quantity without bounds, such as a reward;
            where nothing differs its interval is that of a scale of one unit.

    Raises:
        ValueError: a and b differ in number; a difference beyond the scale; or as ``mean``.
    """
    if len(a) != len(b):
        raise ValueError(f"pairs wanted: {len(a)} and {len(b)} values")
    gaps = list(np.asarray(a, dtype=float) - np.asarray(b, dtype=float))
    if scale is None and any(gaps):
        return mean(gaps, clusters, level=level)
    width = 1.0 if scale is None else scale[1] - scale[0]
    return bounded(gaps, clusters, (-width, width), level=level)


def _grouped(values: Any, clusters: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray, int]:
    x = np.asarray(values, dtype=float)
    if len(x) != len(clusters):
        raise ValueError(f"{len(x)} values but {len(clusters)} conversations")
    if len(x) == 0:
        raise ValueError("no values")
    if not np.isfinite(x).all():
        raise ValueError("values must be finite")
    codes, groups = coded(clusters)
    return x, codes, groups


class Moments(NamedTuple):
    """Of n values in G clusters, what ``mean``, ``share`` and ``rate`` are made from.

    Attributes:
        variance: clustered, of the mean; NaN where there is one cluster.
    """

    n: int
    groups: int
    mean: float
    variance: float


def moments(values: Any, clusters: Sequence[Hashable]) -> Moments:
    """Of values that are all there; ``running.Running`` keeps them up.

    Raises:
        ValueError: no values, or some that are not finite.
    """
    x, codes, groups = _grouped(values, clusters)
    centred = (x - x.mean())[:, None]
    variance = float(covariance(centred, codes, groups)[0, 0]) if groups > 1 else math.nan
    if variance <= (ROUNDING * float(np.abs(x).max())) ** 2:
        variance = 0.0
    return Moments(len(x), groups, float(x.mean()), variance)


def mean_of(m: Moments, level: float = 0.95) -> Interval:
    """As ``mean``, from moments. Raises ValueError for a single cluster."""
    if m.groups < 2:
        raise ValueError(f"an interval needs at least two conversations, got {m.groups}")
    half = m.variance**0.5 * quantile(level, m.groups)
    return Interval(m.mean, m.mean - half, m.mean + half, m.n, m.groups)


def share_of(m: Moments, level: float = 0.95) -> Interval:
    """As ``share``, from the moments of values 0 and 1."""
    p = m.mean
    if m.groups > 1 and 0 < p < 1 and m.variance > 0:
        return _wilson(m, min(float(m.n), p * (1 - p) / m.variance), level)
    return _wilson(m, float(m.groups), level)


def rate_of(m: Moments, level: float = 0.95) -> Interval:
    """As ``rate``, from the moments of values within 0 and 1."""
    spread = m.groups > 1 and m.variance > 0
    return _wilson(m, m.mean * (1 - m.mean) / m.variance if spread else float(m.groups), level)


def _wilson(m: Moments, effective: float, level: float) -> Interval:
    """Wilson's interval for a mean within [0, 1], as of ``effective`` independent draws."""
    p = m.mean
    z = quantile(level, m.groups) if m.groups > 1 else float(stats.norm.ppf((1 + level) / 2))
    centre = (p + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z / (1 + z**2 / effective) * (p * (1 - p) / effective + z**2 / (4 * effective**2)) ** 0.5
    return Interval(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), m.n, m.groups)
