"""One judge's audit on one dimension: every number there is, as JSON and as text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from halign.audits.biases import (
    LengthBias,
    PositionBias,
    SelfEnhancement,
    length_bias,
    position_bias,
    self_enhancement,
)
from halign.audits.labels import Label
from halign.audits.people import Agreement, against_people
from halign.errors import HalignError
from halign.evaluate.agreement import Repeatability, repeatability
from halign.evaluate.intervals import Interval
from halign.judges.records import JudgedItem, PairRecord


@dataclass(frozen=True)
class Audit:
    """What is known of one judge on one dimension; None where the data do not say.

    Attributes:
        comparisons, missing: how many were asked for, and how many lack a verdict in an order.
        retest: the same questions asked again.
        notes: why something is missing.
    """

    judge: str
    dimension: str
    comparisons: int
    missing: int
    position: PositionBias | None
    length: LengthBias | None
    own_family: SelfEnhancement | None
    people: Agreement | None
    retest: Repeatability | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {**asdict(self), "notes": list(self.notes)}

    def table(self) -> str:
        """The numbers as text, a line each."""
        lines = [
            f"{self.judge}, {self.dimension}: {self.comparisons} comparisons, {self.missing} without a verdict"
        ]
        for title, part in (
            ("position", self.position),
            ("length", self.length),
            ("own family", self.own_family),
            ("people", self.people),
            ("retest", self.retest),
        ):
            for name, i in _intervals(part):
                lines.append(f"  {title:<11} {name:<28} {i.value:7.3f} [{i.low:.3f}, {i.high:.3f}]  n {i.n}")
        return "\n".join(lines + [f"  {note}" for note in self.notes])


def audit(
    records: Sequence[PairRecord],
    items: Mapping[str, JudgedItem],
    *,
    labels: Sequence[Label] = (),
    family: Collection[str] = (),
    again: Sequence[PairRecord] = (),
) -> list[Audit]:
    """One audit per judge and dimension, over whole dimensions (not single guardrails).

    Args:
        items: by id; lengths are read off their replies.
        labels: what people say.
        family: models of the judge's own family.
        again: verdicts of the same judges on the same questions, asked once more.
    """
    whole = [r for r in records if r.guardrail is None]
    kinds = sorted({(r.judge, r.dimension) for r in whole})
    return [
        _one(
            *(
                judge,
                dimension,
                [r for r in whole if (r.judge, r.dimension) == (judge, dimension)],
                items,
                labels,
            ),
            family,
            [r for r in again if (r.judge, r.dimension, r.guardrail) == (judge, dimension, None)],
        )
        for judge, dimension in kinds
    ]


def _one(
    judge: str,
    dimension: str,
    records: Sequence[PairRecord],
    items: Mapping[str, JudgedItem],
    labels: Sequence[Label],
    family: Collection[str],
    again: Sequence[PairRecord],
) -> Audit:
    notes: list[str] = []

    def tried(make: Any, *args: Any) -> Any:
        try:
            return make(*args)
        except (HalignError, ValueError) as error:  # a part that the data cannot say does not cost the others
            notes.append(f"{make.__name__.replace('_', ' ')}: {error}")
            return None

    return Audit(
        judge,
        dimension,
        len(records),
        sum(r.outcome is None for r in records),
        position=tried(position_bias, records),
        length=tried(length_bias, records, items, labels),
        own_family=tried(self_enhancement, records, family, labels) if family else None,
        people=tried(against_people, records, labels, items) if labels else None,
        retest=tried(_retest, records, again) if again else None,
        notes=tuple(notes),
    )


def _retest(records: Sequence[PairRecord], again: Sequence[PairRecord]) -> Repeatability:
    """Verdicts in each order, of questions answered both times."""
    other = {(r.item, r.a, r.b): r for r in again}
    first, second, clusters = [], [], []
    for r in records:
        s = other.get((r.item, r.a, r.b))
        if s is None:
            continue
        for x, y in ((r.first, s.first), (r.second, s.second)):
            if x is not None and y is not None:
                first.append(x.value)
                second.append(y.value)
                clusters.append(r.conversation)
    if not first:
        raise HalignError("no question was answered both times; are item, a and b the same?")
    return repeatability(first, second, clusters)


def _intervals(part: Any) -> list[tuple[str, Interval]]:
    """Every interval of a part by its field's name, subsets by theirs."""
    found: list[tuple[str, Interval]] = []
    for name in getattr(part, "__dataclass_fields__", {}):
        value = getattr(part, name)
        if isinstance(value, Interval):
            found.append((name.replace("_", " "), value))
        elif isinstance(value, dict):
            found += [(k, v) for k, v in value.items() if isinstance(v, Interval)]
    return found
