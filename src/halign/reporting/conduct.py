"""How judges behaved: verdicts that did not come, what ``audits`` finds in the others, and where judges contradict each other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from halign.audits import Audit, audit
from halign.evaluate import Interval, share
from halign.judges.records import JudgedItem, PairRecord, Record
from halign.reporting.pool import Pool, Seen


@dataclass(frozen=True)
class Conduct:
    """How one judge behaved on one dimension.

    Attributes:
        asked: verdicts asked for, those that did not come included.
        trouble: why -> how many did not come.
    """

    judge: str
    dimension: str
    asked: int
    trouble: dict[str, int]


class Agreement(NamedTuple):
    """How often two judges said the same of the same replies, on one dimension and on the same rule or the whole."""

    one: str
    other: str
    dimension: str
    same: Interval


def conduct(records: Sequence[Record]) -> list[Conduct]:
    """One row a judge and dimension."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        groups.setdefault((r.judge, r.dimension), []).append(r)
    out = []
    for (judge, dimension), of in groups.items():
        trouble: dict[str, int] = {}
        for r in of:
            if r.trouble:
                trouble[r.trouble] = trouble.get(r.trouble, 0) + 1
        out.append(Conduct(judge, dimension, len(of), trouble))
    return out


def audits(pool: Pool) -> list[tuple[str, Audit]]:
    """(folder, audit of one judge on one dimension) of every folder with comparisons."""
    found = []
    for name, judged in zip(pool.names, pool.judged, strict=True):
        left_out = lacking(judged.pairs, judged.items)
        stored = {k: item for k, item in judged.items.items() if k not in left_out}
        found += [(name, a) for a in audit(judged.pairs, stored)]
    return found


def lacking(pairs: Sequence[PairRecord], items: Mapping[str, JudgedItem]) -> set[str]:
    """Items of which a reply that was judged is not stored."""
    return {r.item for r in pairs if r.item in items and not items[r.item].replies.keys() >= {r.a, r.b}}


def said_of(seen: Seen) -> tuple[Hashable, Hashable] | None:
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


def split_judges(pool: Pool) -> list[bool]:
    """For every verdict of the pool: did another judge say something else of the same replies?"""
    answers: dict[Hashable, dict[str, Hashable]] = {}
    said = [said_of(s) for s in pool.seen]
    for seen, s in zip(pool.seen, said, strict=True):
        if s is not None:
            answers.setdefault(s[0], {})[seen.record.judge] = s[1]
    return [s is not None and any(a != s[1] for a in answers[s[0]].values()) for s in said]


def agreements(pool: Pool) -> list[Agreement]:
    """Every two judges that answered the same questions, by dimension."""
    answers: dict[str, dict[str, dict[Hashable, tuple[Hashable, str]]]] = {}
    for seen in pool.seen:
        if s := said_of(seen):
            r = seen.record
            answers.setdefault(r.dimension, {}).setdefault(r.judge, {})[s[0]] = s[1], r.conversation
    out = []
    for dimension, judges in answers.items():
        for one, other in combinations(judges, 2):
            both = [q for q in judges[one] if q in judges[other]]
            if both:
                same = [judges[one][q][0] == judges[other][q][0] for q in both]
                clusters = [judges[one][q][1] for q in both]
                out.append(Agreement(one, other, dimension, share(same, clusters)))
    return out
