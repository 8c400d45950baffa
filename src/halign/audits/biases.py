"""What a judge's verdicts depend on besides quality: the order of the replies, their length, and whose they are.

Effects are coefficients of a linear model without intercept, y = effect x + quality h, of what A made of the comparison,
y = P(A better) - P(B better) in [-1, 1], fitted by least squares with clustered (sandwich) intervals. x changes sign with the
order of the models and so does y, which is why there is no intercept. h is what people say: 1, -1 or 0. Without labels h is left
out, and an effect then holds quality as well: longer replies may be better ones.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from halign.audits.labels import Label, Lookup
from halign.errors import HalignError
from halign.evaluate.clusters import Floats, coded, covariance, quantile
from halign.evaluate.intervals import Interval, rate
from halign.judges import Verdict
from halign.judges.records import JudgedItem, PairRecord


@dataclass(frozen=True)
class PositionBias:
    """Attributes:
    first: share of verdicts for one reply that go to the one shown first, over both orders; 1/2 without bias. None where no
        verdict is for one reply.
    consistent: share of comparisons with the same verdict in both orders.
    favours_first, favours_second: share in which whatever stood first (second) won in both orders.
    """

    first: Interval | None
    consistent: Interval
    favours_first: Interval
    favours_second: Interval


def position_bias(records: Iterable[PairRecord]) -> PositionBias:
    """From verdicts in both orders (those of a judge that cannot see the order show no bias, as they must).

    Raises:
        HalignError: no record has both.
    """
    seen = [r for r in records if r.outcome is not None]
    if not seen:
        raise HalignError("position bias needs verdicts in both orders, and there are none")
    first, clusters = [], []
    for r in seen:
        for verdict, shown_first in ((r.first, Verdict.A), (r.second, Verdict.B)):
            if verdict in (Verdict.A, Verdict.B):
                first.append(float(verdict is shown_first))
                clusters.append(r.conversation)
    all_of = [r.conversation for r in seen]

    def share(x: Verdict, y: Verdict) -> Interval:
        return rate([float(r.first is x and r.second is y) for r in seen], all_of)

    return PositionBias(
        first=rate(first, clusters) if first else None,
        consistent=rate([float(r.first is r.second) for r in seen], all_of),
        favours_first=share(Verdict.A, Verdict.B),
        favours_second=share(Verdict.B, Verdict.A),
    )


@dataclass(frozen=True)
class LengthBias:
    """Attributes:
    longer: share of comparisons that go to the longer reply (ties half), of those with replies of different length.
    people_longer: the same of what people say, on the comparisons they labelled; None without labels.
    effect: what twice the length adds to P(better) - P(worse), people's preference held equal where there are labels.
    controlled: whether it is.
    """

    longer: Interval
    people_longer: Interval | None
    effect: Interval
    controlled: bool


def length_bias(
    records: Iterable[PairRecord], items: Mapping[str, JudgedItem], labels: Sequence[Label] = ()
) -> LengthBias:
    """The verdict against log2 of the ratio of the lengths in words (plus one each).

    Raises:
        HalignError: no comparison of replies of different length, or from fewer than two conversations.
    """
    lookup = Lookup(labels)
    seen = []
    for r in records:
        replies = items[r.item].replies if r.item in items else {}
        if r.outcome is None or not {r.a, r.b} <= replies.keys():
            continue
        a, b = (len(replies[m].split()) + 1 for m in (r.a, r.b))
        h = lookup.sign(r)
        if a != b and (h is not None or not labels):
            seen.append((r.outcome.advantage, math.log2(a / b), h, r.conversation))
    _enough(seen, "replies of different length")
    y, x, clusters = [s[0] for s in seen], [s[1] for s in seen], [s[3] for s in seen]
    held = [float(s[2] or 0) for s in seen]
    toward = [0.5 + v * math.copysign(0.5, d) for v, d in zip(y, x, strict=True)]
    people = [0.5 + p * math.copysign(0.5, d) for p, d in zip(held, x, strict=True)] if labels else None
    return LengthBias(
        longer=rate(toward, clusters),
        people_longer=rate(people, clusters) if people is not None else None,
        effect=effect(y, x, held if labels else None, clusters),
        controlled=bool(labels),
    )


@dataclass(frozen=True)
class SelfEnhancement:
    """Attributes:
    own: share of comparisons between the judge's family and others that its family wins, by the judge (ties half).
    people_own: the same by people; None without labels.
    effect: what being of the family adds to P(better) - P(worse), people's preference held equal where there are labels.
    controlled: whether it is. If not, a family that is better looks like one that is favoured.
    """

    own: Interval
    people_own: Interval | None
    effect: Interval
    controlled: bool


def self_enhancement(
    records: Iterable[PairRecord], family: Collection[str], labels: Sequence[Label] = ()
) -> SelfEnhancement:
    """Comparisons between a model of the judge's own family and one of another.

    Raises:
        HalignError: there are none, or from fewer than two conversations.
    """
    lookup = Lookup(labels)
    seen = []
    for r in records:
        own, h = (r.a in family) - (r.b in family), lookup.sign(r)
        if r.outcome is not None and own and (h is not None or not labels):
            seen.append((r.outcome.advantage * own, 1.0, h * own if h is not None else None, r.conversation))
    _enough(seen, f"{', '.join(sorted(family))} with models of other families")
    y, x, clusters = [s[0] for s in seen], [s[1] for s in seen], [s[3] for s in seen]
    held = [float(s[2] or 0) for s in seen]
    people = [0.5 + p / 2 for p in held] if labels else None
    return SelfEnhancement(
        own=rate([0.5 + v / 2 for v in y], clusters),
        people_own=rate(people, clusters) if people is not None else None,
        effect=effect(y, x, held if labels else None, clusters),
        controlled=bool(labels),
    )


def effect(
    y: Sequence[float], x: Sequence[float], held: Sequence[float] | None, clusters: Sequence[str]
) -> Interval:
    """Coefficient of x [n] in the least-squares fit of y [n] on x and, if given, ``held`` [n]; clustered sandwich interval.

    Raises:
        HalignError: x follows from ``held``, so that the two cannot be told apart.
    """
    columns = [np.asarray(x, dtype=float)] + ([] if held is None else [np.asarray(held, dtype=float)])
    design: Floats = np.stack([c for c in columns if c.any()], axis=1)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise HalignError(
            "an effect cannot be told from people's preference: one follows from the other here"
        )
    inverse = np.linalg.inv(design.T @ design)
    target = np.asarray(y, dtype=float)
    weights = inverse @ design.T @ target
    influences = len(target) * (design * (target - design @ weights)[:, None]) @ inverse
    codes, groups = coded(clusters)
    half = quantile(0.95, groups) * float(covariance(influences, codes, groups)[0, 0]) ** 0.5
    value = float(weights[0])
    return Interval(value, value - half, value + half, len(target), groups)


def _enough(seen: Sequence[tuple[object, ...]], of: str) -> None:
    if len({row[-1] for row in seen}) < 2:
        raise HalignError(
            f"comparisons of {of} from at least two conversations are needed; there are {len(seen)}"
        )
