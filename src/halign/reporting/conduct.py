"""How judges behaved: verdicts that did not come, orders that disagree, the pull of the first place, and each other.

What ``judges.audit`` finds is joined here, so that the page asks in one place.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from halign.evaluate import Interval, advantage, share
from halign.judges import Verdict
from halign.judges.records import PairRecord, Record
from halign.reporting.pool import Pool, Seen
from halign.reporting.standings import within

SIGNED = (-1.0, 1.0)


@dataclass(frozen=True)
class Conduct:
    """How one judge behaved on one dimension.

    Attributes:
        asked: verdicts asked for, those that did not come included.
        trouble: why -> how many did not come.
        orders: share of the comparisons in which the two orders gave different verdicts; None without comparisons.
        position: P(the reply shown first is better) - P(the second), over both orders; 0 for a judge that cannot see the order.
    """

    judge: str
    dimension: str
    asked: int
    trouble: dict[str, int]
    orders: Interval | None
    position: Interval | None


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
        pairs = [(r.conversation, o) for r in of if isinstance(r, PairRecord) and (o := r.outcome)]
        clusters = [c for c, _ in pairs]
        orders = share([not o.agrees for _, o in pairs], clusters) if pairs else None
        places = [first_place(o.first, o.second) for _, o in pairs]
        out.append(Conduct(judge, dimension, len(of), trouble, orders, _signed(places, clusters)))
    return out


def first_place(first: Verdict, second: Verdict) -> float:
    """P(shown first is better) - P(shown second) of one comparison. ``second`` is turned back: B was shown first there.

    >>> first_place(Verdict.A, Verdict.B), first_place(Verdict.A, Verdict.A), first_place(Verdict.BOTH, Verdict.A)
    (1.0, 0.0, -0.5)
    """
    gain = {Verdict.A: 1, Verdict.B: -1}
    return (gain.get(first, 0) - gain.get(second, 0)) / 2


def _signed(values: Sequence[float], clusters: Sequence[str]) -> Interval | None:
    if not values:
        return None
    if len(set(clusters)) < 2:
        return Interval(sum(values) / len(values), *SIGNED, len(values), 1)
    return within(advantage(values, clusters), SIGNED)


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
