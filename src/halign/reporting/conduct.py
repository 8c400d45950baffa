"""How judges behaved: verdicts that did not come, what ``audits`` finds in the others, and where judges contradict each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

from halign.audits import Audit, audit
from halign.evaluate import Interval
from halign.evaluate.intervals import share_of
from halign.evaluate.running import Running
from halign.judges.records import JudgedItem, PairRecord, Record
from halign.reporting.pool import Pool, Seen


@dataclass
class Conduct:
    """How one judge behaved on one dimension.

    Attributes:
        asked: verdicts asked for, those that did not come included.
        trouble: why -> how many did not come.
    """

    judge: str
    dimension: str
    asked: int = 0
    trouble: Counter[str] = field(default_factory=Counter)


class Conducts:
    """One row a judge and dimension, kept up as verdicts come."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._of: dict[tuple[str, str], Conduct] = {}
        for r in records:
            self.add(r)

    def add(self, r: Record) -> None:
        """One more verdict."""
        key = r.judge, r.dimension
        row = self._of.get(key) or self._of.setdefault(key, Conduct(*key))
        row.asked += 1
        if r.trouble:
            row.trouble[r.trouble] += 1

    @property
    def rows(self) -> list[Conduct]:
        return list(self._of.values())


class Agreement(NamedTuple):
    """How often two judges said the same of the same replies, on one dimension and on the same rule or the whole."""

    one: str
    other: str
    dimension: str
    same: Interval


def audits(pool: Pool) -> list[tuple[str, Audit]]:
    """(folder, audit of one judge on one dimension) of every folder with comparisons."""
    found = []
    for name, judged in zip(pool.names, pool.judged, strict=True):
        pairs = judged.pairs
        left_out = lacking(pairs, judged.items)
        stored = {k: item for k, item in judged.items.items() if k not in left_out}
        found += [(name, a) for a in audit(pairs, stored)]
    return found


def lacking(pairs: Iterable[PairRecord], items: Mapping[str, JudgedItem]) -> set[str]:
    """Items of which a reply that was judged is not stored."""
    return {r.item for r in pairs if r.item in items and not items[r.item].replies.keys() >= {r.a, r.b}}


def said_of(seen: Seen) -> tuple[tuple[Any, ...], Hashable] | None:
    """(what was asked, what was answered), alike for A against B and B against A; None without a verdict."""
    r = seen.record
    if isinstance(r, PairRecord):
        if r.first is None or r.second is None:
            return None
        turned = r.a > r.b
        models = (r.b, r.a) if turned else (r.a, r.b)
        answer = frozenset(v.swapped if turned else v for v in (r.first, r.second))
        return (seen.item, r.dimension, r.guardrail, *models), answer
    if r.value is None:
        return None
    return (seen.item, r.dimension, r.guardrail, r.model), r.value if r.acceptable is None else r.acceptable


class Splits:
    """For every verdict, whether another judge said something else of the same replies; kept up as verdicts come.

    Attributes:
        asked: question -> (number of the verdict, judge, answer) of each answer to it.
    """

    def __init__(self) -> None:
        self.split: list[bool] = []
        self.asked: dict[tuple[Any, ...], list[tuple[int, str, Hashable]]] = {}

    def add(self, seen: Seen) -> list[int]:
        """One more verdict; returns the numbers of the earlier ones that it is the first to contradict."""
        number, said = len(self.split), said_of(seen)
        self.split.append(False)
        if said is None:
            return []
        (question, answer), judge = said, seen.record.judge
        others = self.asked.setdefault(question, [])
        against = [n for n, j, a in others if j != judge and a != answer]
        others.append((number, judge, answer))
        self.split[number] = bool(against)
        new = [n for n in against if not self.split[n]]
        for n in new:
            self.split[n] = True
        return new


def agreements(pool: Pool, splits: Splits) -> list[Agreement]:
    """Every two judges that answered the same questions, by dimension.

    Args:
        splits: of the pool's verdicts.
    """
    found: dict[tuple[str, str, str], Running] = {}
    for (_, dimension, *_), said in splits.asked.items():
        if len(said) < 2:
            continue
        answers = {judge: (number, answer) for number, judge, answer in said}
        for one, other in combinations(sorted(answers), 2):
            (number, a), (_, b) = answers[one], answers[other]
            kept = found.setdefault((dimension, one, other), Running())
            kept.add(float(a == b), pool.seen[number].record.conversation)
    return [Agreement(one, other, d, share_of(r.moments)) for (d, one, other), r in found.items()]
