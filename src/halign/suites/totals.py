"""From verdicts to numbers: every measure's mean with its interval, by category, guardrail or turn, and what changed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from halign.evaluate import Interval, bounded, share
from halign.judges.records import GradeRecord, PairRecord, Record

WIN = "win rate"


def measure(record: Record) -> tuple[str, float | None, tuple[float, float]]:
    """What a record measures, its value (None where there is no verdict), and the scale.

    A comparison counts as the win rate of A: 1, 0, or a half for replies that are equally good; orders that disagree count half
    each way.
    """
    if isinstance(record, GradeRecord):
        return record.dimension, record.value, record.scale
    outcome = record.outcome
    value = None if outcome is None else (1 + outcome.advantage) / 2
    return f"{WIN} on {record.dimension} against {record.b}", value, (0.0, 1.0)


def estimate(
    values: Sequence[float], clusters: Sequence[Hashable], scale: tuple[float, float] = (0.0, 1.0)
) -> Interval:
    """The mean of values within a scale, with an interval that stays within it and never vanishes.

    Zeros and ones are a share (Wilson's interval); other values a clustered mean (``bounded``). Of a single cluster nothing is
    known beyond the scale itself.

    >>> str(estimate([7.0], ["a"], (1, 10)))
    '7.00 [1.00, 10.00]'
    """
    low, high = scale
    groups = len(set(clusters))
    if scale == (0.0, 1.0) and set(values) <= {0.0, 1.0}:
        return share([bool(v) for v in values], clusters)
    if groups < 2:
        return Interval(float(np.mean(values)), low, high, len(values), groups)
    return bounded(values, clusters, scale)


def totals(records: Iterable[Record]) -> dict[str, Interval]:
    """Measure -> its interval over the records that have a value."""
    return {name: _over(rows, scale) for name, scale, rows in _gathered(records)}


def _gathered(records: Iterable[Record]) -> list[tuple[str, tuple[float, float], list[tuple[float, str]]]]:
    found: dict[str, list[tuple[float, str]]] = defaultdict(list)
    scales = {}
    for r in records:
        name, value, scales_to = measure(r)
        if value is not None:
            found[name].append((value, r.conversation))
            scales[name] = scales_to
    return [(name, scales[name], rows) for name, rows in found.items()]


def broken_down(
    records: Sequence[Record], metas: Mapping[str, Mapping[str, Any]], groups: Sequence[str]
) -> dict[str, dict[str, dict[str, Interval]]]:
    """Group's key -> its value -> measure -> interval; keys under which nothing was noted are left out.

    Args:
        metas: item -> its meta, where the keys stand; "guardrail" is the record's own.
    """
    found: dict[str, dict[str, dict[str, Interval]]] = {}
    for key in groups:
        parts: dict[str, list[Record]] = defaultdict(list)
        for r in records:
            value = r.guardrail if key == "guardrail" else metas.get(r.item, {}).get(key)
            for one in value if isinstance(value, list | tuple) else [value]:
                if one is not None:
                    parts[str(one)].append(r)
        if parts:
            found[key] = {name: totals(parts[name]) for name in sorted(parts, key=_order)}
    return found


def _order(name: str) -> tuple[int, int, str]:
    """Numbers by size, then words."""
    return (0, int(name), "") if name.isdigit() else (1, 0, name)


def troubles(records: Iterable[Record]) -> dict[str, int]:
    """Verdicts that did not come, by why."""
    return dict(Counter(r.trouble for r in records if r.trouble is not None))


def changes(after: Sequence[Record], before: Sequence[Record]) -> dict[str, Interval]:
    """Mean of (after - before) over the verdicts that both have, for each measure: what was forgotten or learnt.

    Verdicts are paired by item, measure and guardrail, in their order. The interval is clustered by conversation; where nothing
    changed at all, it is as wide as unseen changes of whole verdicts could make it.
    """
    old = {key: value for key, value, _, _ in _keyed(before)}
    pairs: dict[str, list[tuple[float, str]]] = defaultdict(list)
    widths = {}
    for key, value, scale, conversation in _keyed(after):
        if key in old:
            pairs[key[1]].append((value - old[key], conversation))
            widths[key[1]] = scale[1] - scale[0]
    return {name: _over(rows, (-widths[name], widths[name])) for name, rows in pairs.items()}


def _over(rows: Sequence[tuple[float, str]], scale: tuple[float, float]) -> Interval:
    """``estimate`` of (value, conversation)."""
    return estimate([value for value, _ in rows], [conversation for _, conversation in rows], scale)


Key = tuple[str, str, str | None, int]


def _keyed(records: Iterable[Record]) -> Iterable[tuple[Key, float, tuple[float, float], str]]:
    seen: Counter[tuple[str, str, str | None]] = Counter()
    for r in records:
        name, value, scale = measure(r)
        place = (r.item, name, r.guardrail)
        seen[place] += 1
        if value is not None:
            yield (*place, seen[place]), value, scale, r.conversation


def disagreements(records: Iterable[Record]) -> float | None:
    """Share of the comparisons whose two orders gave different verdicts; None where there are none."""
    outcomes = [o for r in records if isinstance(r, PairRecord) and (o := r.outcome) is not None]
    return sum(not o.agrees for o in outcomes) / len(outcomes) if outcomes else None
