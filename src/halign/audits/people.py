"""How far a judge agrees with people, beside rules that need no judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

from halign.audits.labels import Label, matched
from halign.errors import HalignError
from halign.evaluate.agreement import cohen_kappa
from halign.evaluate.intervals import Interval, rate
from halign.judges import Verdict
from halign.judges.records import JudgedItem, PairRecord


@dataclass(frozen=True)
class Agreement:
    """On pairs of which people prefer one.

    Attributes:
        agreement: share of verdicts for the reply that people prefer, over both orders; a verdict for neither counts half.
        both_orders: share of pairs for which that is the verdict in both orders.
        kappa: Cohen's, of verdicts (A, B, neither better) and labels, over both orders; None where there is one answer only.
        subsets: subset -> agreement on it, where it has two conversations or more.
        longest: agreement of "the longer reply is better" (equal length half), where both replies are stored; None if nowhere.
        first: agreement of "the reply shown first is better", as the set lists them. Shown in both orders it is 1/2.
        chance: 1/2, and where 95 % of the agreements of fair coins on as many independent pairs lie.
    """

    agreement: Interval
    both_orders: Interval
    kappa: Interval | None
    subsets: dict[str, Interval]
    longest: Interval | None
    first: Interval
    chance: Interval


def against_people(
    records: Sequence[PairRecord], labels: Sequence[Label], items: Mapping[str, JudgedItem]
) -> Agreement:
    """The verdicts of one judge on one dimension against labels; pairs of which people prefer neither are left out.

    Raises:
        HalignError: fewer than two conversations with verdicts in both orders and a preference.
    """
    seen = [(r, label, sign) for r, label, sign in matched(records, labels) if sign]
    clusters = [r.conversation for r, _, _ in seen]
    if len(set(clusters)) < 2:
        raise HalignError(
            f"{len(seen)} verdicts have a label that prefers one reply; verdicts and labels from two conversations or more are "
            "needed. Do item, a and b of the labels name what the verdicts name?"
        )
    right = [(1 + sign * r.outcome.advantage) / 2 for r, _, sign in seen if r.outcome]
    side = {1: Verdict.A, -1: Verdict.B}
    wanted = [side[sign] for _, _, sign in seen]
    both = [float(r.first is w and r.second is w) for (r, _, _), w in zip(seen, wanted, strict=True)]
    said = [_bin(v) for r, _, _ in seen for v in (r.first, r.second)]
    meant = [w.value for w in wanted for _ in range(2)]
    subsets: dict[str, list[int]] = {}
    for i, (_, label, _) in enumerate(seen):
        subsets.setdefault(label.subset, []).append(i)
    spread = float(stats.norm.ppf(0.975)) * 0.5 / len(seen) ** 0.5
    return Agreement(
        agreement=rate(right, clusters),
        both_orders=rate(both, clusters),
        kappa=cohen_kappa(said, meant, [c for c in clusters for _ in range(2)])
        if len(set(said) | set(meant)) > 1
        else None,
        subsets={
            name: rate([right[i] for i in rows], [clusters[i] for i in rows])
            for name, rows in sorted(subsets.items())
            if name and len({clusters[i] for i in rows}) > 1
        },
        longest=_longest([(r, sign) for r, _, sign in seen], items),
        first=rate([float(label.preferred == label.a) for _, label, _ in seen], clusters),
        chance=Interval(0.5, max(0.0, 0.5 - spread), min(1.0, 0.5 + spread), len(seen), len(set(clusters))),
    )


def _bin(verdict: Verdict | None) -> str:
    return verdict.value if verdict in (Verdict.A, Verdict.B) else "neither better"


def _longest(seen: Sequence[tuple[PairRecord, int]], items: Mapping[str, JudgedItem]) -> Interval | None:
    found, clusters = [], []
    for record, sign in seen:
        replies = items[record.item].replies if record.item in items else {}
        if {record.a, record.b} <= replies.keys():
            a, b = len(replies[record.a]), len(replies[record.b])
            found.append(0.5 if a == b else float((a > b) == (sign > 0)))
            clusters.append(record.conversation)
    return rate(found, clusters) if found else None
