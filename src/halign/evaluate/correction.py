"""Pass rates corrected for a judge's mistakes, known from items that people labelled too (Rogan and Gladen 1978).

With p the share that the judge passes, se its sensitivity P(judge passes | person passes) and sp its specificity
P(judge fails | person fails), p = theta se + (1 - theta)(1 - sp), so theta = (p + sp - 1) / (se + sp - 1). It is cut to [0, 1].

The variance is by the delta method, with d theta = (dp + (1 - theta) d sp - theta d se) / (se + sp - 1). It assumes that the
judge errs alike on the judged and on the labelled items. Where these are different conversations, the variances of the two
samples add up; where they share conversations (people labelled some of what was judged), they are one sample, and a
conversation's influences on p, se and sp are summed before they are squared.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halign.errors import HalignError
from halign.evaluate.clusters import Codes, Floats, coded, covariance, quantile, resampled, summed
from halign.evaluate.intervals import Interval, share


@dataclass(frozen=True)
class Corrected:
    """A pass rate as it was judged and as it is once the judge's mistakes are taken out.

    Attributes:
        judged: what the judge passes.
        sensitivity, specificity: on the labelled items.
        corrected: with the delta method's interval.
        resampled: the same with the bootstrap's.
    """

    judged: Interval
    sensitivity: Interval
    specificity: Interval
    corrected: Interval
    resampled: Interval

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {k: getattr(self, k).to_dict() for k in self.__dataclass_fields__}


def corrected_rate(
    judged: Sequence[bool],
    judged_clusters: Sequence[Hashable],
    judge_says: Sequence[bool],
    person_says: Sequence[bool],
    labelled_clusters: Sequence[Hashable],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Corrected:
    """The corrected pass rate of ``judged`` [n], the judge's mistakes known from [k] items that it and a person judged.

    Args:
        judged_clusters, labelled_clusters: conversations; one that is in both is taken for the same.

    Raises:
        HalignError: no labelled item that the person passes, or none that the person fails; the judge is no better than chance
            (sensitivity + specificity at most 1), so that its verdicts say nothing.
        ValueError: a single conversation.
    """
    x = np.asarray(judged, dtype=float)
    said, true = np.asarray(judge_says, dtype=float), np.asarray(person_says, dtype=bool)
    if not len(said) == len(true) == len(labelled_clusters):
        raise HalignError(f"{len(said)} verdicts, {len(true)} labels, {len(labelled_clusters)} conversations")
    if true.all() or not true.any():
        raise HalignError(
            "the labelled items are all of one kind, so half of the judge's mistakes cannot be seen; label some "
            "that pass and some that fail"
        )
    p, se, sp = float(x.mean()), float(said[true].mean()), float(1 - said[~true].mean())
    if se + sp <= 1:
        raise HalignError(
            f"sensitivity {se:.2f} and specificity {sp:.2f} add up to no more than 1: this judge is no better than chance here, "
            "and nothing can be corrected by it"
        )
    theta, slope = _theta(p, se, sp), se + sp - 1
    raw = (p + sp - 1) / slope
    groups, labelled = len(set(judged_clusters)), len(set(labelled_clusters))
    of_se = np.where(true, said - se, 0) / true.mean()
    of_sp = np.where(~true, 1 - said - sp, 0) / (~true).mean()
    influences = ((1 - raw) * of_sp - raw * of_se) / slope
    samples = _Samples.of(judged_clusters, labelled_clusters)
    variance = samples.variance((x - p) / slope, influences)
    half = quantile(level, min(groups, labelled)) * variance**0.5

    drawn = _bootstrap(x, said, true, samples, resamples, seed, undefined=raw)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    n = len(x)
    return Corrected(
        share(list(x > 0), judged_clusters, level=level),
        _share_of(said > 0, true, labelled_clusters, level),
        _share_of(said == 0, ~true, labelled_clusters, level),
        Interval(theta, max(0.0, min(raw - half, theta)), min(1.0, max(raw + half, theta)), n, groups),
        Interval(theta, float(low), float(high), n, groups),
    )


@dataclass(frozen=True)
class _Samples:
    """The judged items' conversations and the labelled ones', numbered: together where they share some.

    Attributes:
        judged, labelled: [n], [k], numbers of their conversations.
        groups: how many there are of each; of both together where ``shared``.
    """

    judged: Codes
    labelled: Codes
    groups: tuple[int, int]
    shared: bool

    @classmethod
    def of(cls, judged: Sequence[Hashable], labelled: Sequence[Hashable]) -> _Samples:
        if set(judged) & set(labelled):
            codes, groups = coded([*judged, *labelled])
            return cls(codes[: len(judged)], codes[len(judged) :], (groups, groups), True)
        (x, n), (y, k) = coded(judged), coded(labelled)
        return cls(x, y, (n, k), False)

    def variance(self, of_judged: Floats, of_labelled: Floats) -> float:
        """Of an estimate with these influences [n], [k], each on the mean over its own sample."""
        if not self.shared:
            parts = (of_judged, self.judged, self.groups[0]), (of_labelled, self.labelled, self.groups[1])
            return float(sum(covariance(u[:, None], codes, n)[0, 0] for u, codes, n in parts))
        n, k = len(of_judged), len(of_labelled)
        both = np.concatenate([of_judged * (n + k) / n, of_labelled * (n + k) / k])
        codes = np.concatenate([self.judged, self.labelled])
        return float(covariance(both[:, None], codes, self.groups[0])[0, 0])

    def resampled(self, resamples: int, seed: int) -> tuple[Codes, Codes]:
        """How often each conversation occurs, of the judged and of the labelled: [resamples, groups] each."""
        first = resampled(self.groups[0], resamples, seed)
        return first, first if self.shared else resampled(self.groups[1], resamples, seed + 1)


def _bootstrap(
    x: Floats,
    said: Floats,
    true: NDArray[np.bool_],
    samples: _Samples,
    resamples: int,
    seed: int,
    undefined: float,
) -> Floats:
    """Corrected rates of resampled conversations: [resamples], fewer where some lack what a rate needs."""
    passed = summed(np.stack([x, np.ones_like(x)], 1), samples.judged, samples.groups[0])
    cells = np.stack([true * said, true, ~true * (1 - said), ~true], 1)
    judge_times, label_times = samples.resampled(resamples, seed)
    judge_sums, label_sums = (
        judge_times @ passed,
        label_times @ summed(cells, samples.labelled, samples.groups[1]),
    )
    # a resample may hold one kind alone
    seen = (label_sums[:, 1] > 0) & (label_sums[:, 3] > 0) & (judge_sums[:, 1] > 0)
    a, b, c, d = label_sums[seen].T
    p = judge_sums[seen, 0] / judge_sums[seen, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (p + c / d - 1) / (a / b + c / d - 1)
    found: Floats = np.clip(np.nan_to_num(drawn, nan=undefined, posinf=1.0, neginf=0.0), 0, 1)
    return found


def _share_of(
    right: NDArray[np.bool_], among: NDArray[np.bool_], clusters: Sequence[Hashable], level: float
) -> Interval:
    chosen: list[int] = np.flatnonzero(among).tolist()
    return share(right[chosen].tolist(), [clusters[i] for i in chosen], level=level)


def _theta(p: float, se: float, sp: float) -> float:
    """
    >>> round(_theta(0.5, 0.9, 0.8), 6)
    0.428571
    """
    return min(1.0, max(0.0, (p + sp - 1) / (se + sp - 1)))
