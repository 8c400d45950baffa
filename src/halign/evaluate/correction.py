"""Pass rates corrected for a judge's mistakes, known from items that people labelled too (Rogan and Gladen 1978).

With p the share that the judge passes, se its sensitivity P(judge passes | person passes) and sp its specificity
P(judge fails | person fails), p = theta se + (1 - theta)(1 - sp), so theta = (p + sp - 1) / (se + sp - 1). It is cut to [0, 1].

The variance is by the delta method, with d theta = (dp + (1 - theta) d sp - theta d se) / (se + sp - 1). It assumes that the
judge errs alike on the judged and on the labelled items, and that these are different conversations.
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
    judged_codes, groups = coded(judged_clusters)
    codes, labelled = coded(labelled_clusters)
    of_se = np.where(true, said - se, 0) / true.mean()
    of_sp = np.where(~true, 1 - said - sp, 0) / (~true).mean()
    influences = ((1 - raw) * of_sp - raw * of_se) / slope
    variance = covariance((x - p)[:, None] / slope, judged_codes, groups)[0, 0]
    variance += covariance(influences[:, None], codes, labelled)[0, 0]
    half = quantile(level, min(groups, labelled)) * float(variance) ** 0.5

    drawn = _bootstrap(x, judged_codes, said, true, codes, resamples, seed, undefined=raw)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    n = len(x)
    return Corrected(
        share(list(x > 0), judged_clusters, level=level),
        _share_of(said > 0, true, labelled_clusters, level),
        _share_of(said == 0, ~true, labelled_clusters, level),
        Interval(theta, max(0.0, min(raw - half, theta)), min(1.0, max(raw + half, theta)), n, groups),
        Interval(theta, float(low), float(high), n, groups),
    )


def _bootstrap(
    x: Floats,
    judged_codes: Codes,
    said: Floats,
    true: NDArray[np.bool_],
    codes: Codes,
    resamples: int,
    seed: int,
    undefined: float,
) -> Floats:
    """Corrected rates of resampled conversations, of the judged and of the labelled items each by themselves: [resamples]."""
    groups, labelled = int(judged_codes.max()) + 1, int(codes.max()) + 1
    passed = summed(np.stack([x, np.ones_like(x)], 1), judged_codes, groups)
    cells = summed(np.stack([true * said, true, ~true * (1 - said), ~true], 1), codes, labelled)
    judge_sums = resampled(groups, resamples, seed) @ passed
    label_sums = resampled(labelled, resamples, seed + 1) @ cells
    seen = (label_sums[:, 1] > 0) & (label_sums[:, 3] > 0)  # a resample may hold one kind alone
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
