"""The numbers of judged folders: who stands where, and which rule is kept by whom.

All intervals are those of ``evaluate.intervals``, clustered by conversation. A verdict that did not come is in no mean; it is
counted (``conduct.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from halign.errors import HalignError
from halign.evaluate import Interval
from halign.evaluate.bradley_terry import bradley_terry
from halign.evaluate.intervals import mean_of, rate_of, share_of
from halign.evaluate.matches import Matches
from halign.evaluate.running import Running
from halign.judges.records import PairRecord, Record

What = Literal["win rate", "acceptable", "grade", "rating"]
"""P(better) + P(no difference) / 2; share that the rubric calls acceptable; mean grade on its scale; Bradley-Terry, in points."""

YES_NO = (0.0, 1.0)


class Column(NamedTuple):
    """What a number is about.

    Attributes:
        rule: the guardrail; None: the whole dimension.
        scale: least and highest value.
    """

    judge: str
    dimension: str
    rule: str | None
    what: What
    scale: tuple[float, float]


Row = tuple[str, list[Interval | None]]
"""A name and an interval for each column; None where nothing was judged."""


@dataclass(frozen=True)
class Board:
    """Models by columns of one judge, the best in the first column first.

    Attributes:
        by_rule: dimensions about whose whole nothing was asked: their columns pool the verdicts on single rules.
        notes: why there are no ratings.
    """

    judge: str
    columns: list[Column]
    rows: list[Row]
    by_rule: frozenset[str] = frozenset()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Heat:
    """Rules by models: one judge, dimension and kind of number. The rule with the lowest mean over models comes first."""

    about: Column
    models: list[str]
    rows: list[Row]


class Tally:
    """Every verdict's worth to the models it is about, kept up as verdicts come.

    A comparison gives either model (1 + advantage) / 2, so that the two sum to 1 and orders that disagree count half each way.

    Attributes:
        of: column -> model -> what it got, one value a verdict.
        pooled: the same of verdicts on single rules, as if they were about their dimension.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.of: dict[Column, dict[str, Running]] = {}
        self.pooled: dict[Column, dict[str, Running]] = {}
        for r in records:
            self.add(r)

    def add(self, r: Record) -> None:
        """One more verdict."""
        for column, model, value in _worth(r):
            _running(self.of, column, model).add(value, r.conversation)
            if column.rule is not None:
                _running(self.pooled, column._replace(rule=None), model).add(value, r.conversation)


def _running(found: dict[Column, dict[str, Running]], column: Column, model: str) -> Running:
    models = found.get(column)
    if models is None:
        models = found[column] = {}
    if model not in models:
        models[model] = Running()
    return models[model]


def _worth(r: Record) -> list[tuple[Column, str, float]]:
    if isinstance(r, PairRecord):
        if (outcome := r.outcome) is None:
            return []
        column, gain = Column(r.judge, r.dimension, r.guardrail, "win rate", YES_NO), outcome.advantage
        return [(column, r.a, (1 + gain) / 2), (column, r.b, (1 - gain) / 2)]
    if r.value is None:
        return []
    worth = []
    if r.acceptable is not None:
        column = Column(r.judge, r.dimension, r.guardrail, "acceptable", YES_NO)
        worth.append((column, r.model, float(r.acceptable)))
    if r.acceptable is None or r.scale != YES_NO:
        worth.append((Column(r.judge, r.dimension, r.guardrail, "grade", r.scale), r.model, r.value))
    return worth


def estimate(column: Column, of: Running) -> Interval:
    """The mean of a column's values with its interval; all of the scale where one conversation is all there is."""
    m = of.moments
    if column.what == "acceptable":
        return share_of(m)
    if column.what == "win rate":
        return rate_of(m)
    if m.groups < 2:
        return Interval(m.mean, *column.scale, m.n, 1)
    return mean_of(m).within(*column.scale)


@dataclass(frozen=True)
class Ratings:
    """Bradley-Terry ratings of models.

    Attributes:
        of: column -> model -> points with the sandwich's interval. A column's scale reaches from the lowest end to the highest.
        notes: judge -> why dimensions have none.
    """

    of: dict[Column, dict[str, Interval]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)


def ratings(records: Iterable[Record]) -> Ratings:
    """Of the models on each judge's dimensions."""
    groups: dict[tuple[str, str], list[PairRecord]] = {}
    for r in records:
        if isinstance(r, PairRecord) and r.guardrail is None:
            groups.setdefault((r.judge, r.dimension), []).append(r)
    found = Ratings()
    for (judge, dimension), of in groups.items():
        try:
            rated = bradley_terry(
                Matches.of(of), resamples=2
            ).ratings  # the bootstrap's intervals are not shown
        except HalignError as e:
            found.notes.setdefault(judge, []).append(f"{dimension}: {e}")
            continue
        ends = min(i.low for i in rated.values()), max(i.high for i in rated.values())
        found.of[Column(judge, dimension, None, "rating", ends)] = rated
    return found


def boards(found: Tally, rated: Ratings, models: Sequence[str]) -> list[Board]:
    """One leaderboard a judge: what was tallied, then ratings."""
    out = []
    for judge in dict.fromkeys(c.judge for c in found.of):
        columns = {c: of for c, of in found.of.items() if c.judge == judge and c.rule is None}
        whole = {c.dimension for c in columns}
        pooled = {c: of for c, of in found.pooled.items() if c.judge == judge and c.dimension not in whole}
        columns |= pooled
        cells = {c: {m: estimate(c, v) for m, v in of.items()} for c, of in columns.items()}
        cells |= {c: of for c, of in rated.of.items() if c.judge == judge}
        rows = [(m, [of.get(m) for of in cells.values()]) for m in models]
        rows = [r for r in rows if any(r[1])]
        rows.sort(key=lambda r: [-(i.value if i else float("-inf")) for i in r[1]])
        by_rule = frozenset(c.dimension for c in pooled)
        out.append(Board(judge, list(cells), rows, by_rule, rated.notes.get(judge, [])))
    return out


def heats(found: Tally, models: Sequence[str]) -> list[Heat]:
    """A table of rules by models for each judge, dimension and kind of number that has verdicts about rules."""
    out = []
    for about in dict.fromkeys(c._replace(rule=None) for c in found.of if c.rule is not None):
        rules = {str(c.rule): of for c, of in found.of.items() if c.rule and c._replace(rule=None) == about}
        named = [m for m in models if any(m in of for of in rules.values())]
        rows: list[Row] = [
            (rule, [estimate(about, of[m]) if m in of else None for m in named]) for rule, of in rules.items()
        ]
        rows.sort(key=lambda r: _average(r[1]))
        out.append(Heat(about, named, rows))
    return out


def _average(cells: Iterable[Interval | None]) -> float:
    values = [i.value for i in cells if i]
    return sum(values) / len(values)
