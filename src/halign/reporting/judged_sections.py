"""The parts of a report that judged folders fill, as plain data for the template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from halign.audits import Audit
from halign.evaluate import Interval
from halign.judges.records import Judged
from halign.reporting.conduct import Agreement, Conduct, agreements, audits, conduct
from halign.reporting.evidence import Evidence
from halign.reporting.explorer import Packed, pack
from halign.reporting.pool import Pool
from halign.reporting.sections import track
from halign.reporting.standings import Board, Column, Heat, boards, heats, tally, words_per_reply
from halign.reporting.svg import Spot, scatter

HIDDEN = ("command", "seconds", "calls", "cost")
"""Entries of judging.json that have a place of their own in the page."""
FEW_VALUES = 12


@dataclass(frozen=True)
class Cell:
    """A number with its interval, ready to be shown; ``warmth`` is its place on the scale, in [0, 1]."""

    value: str
    low: str
    high: str
    n: int
    clusters: int
    track: Mapping[str, float]
    warmth: float


@dataclass(frozen=True)
class JudgedPart:
    """Everything that the template shows of judged folders."""

    boards: list[Board]
    heats: list[Heat]
    frontiers: list[tuple[str, Markup]]
    conduct: list[Conduct]
    audits: list[tuple[str, Audit]]
    agreements: list[Agreement]
    packed: Packed
    missing: list[str]
    card: list[tuple[str, str]]
    facts: list[tuple[str, list[tuple[str, str]]]]
    costs: list[tuple[str, str, float | None, str]]


def judged_part(evidence: Evidence, pool: Pool, css: Mapping[str, str]) -> JudgedPart:
    """The part of a report with judged folders.

    Args:
        pool: those folders, laid together.
        css: model -> class of its colour.
    """
    ranked = boards(pool.records, pool.models)
    named = list(zip(pool.judged, pool.names, strict=True))
    return JudgedPart(
        ranked,
        heats(tally(pool.records), pool.models),
        frontiers(evidence, pool, ranked, css),
        conduct(pool.records),
        audits(pool),
        agreements(pool),
        pack(pool),
        [m for j, name in named for m in missing(name, j)],
        card(pool),
        [(name, [(k, said(v)) for k, v in j.facts.items() if k not in HIDDEN]) for j, name in named],
        _costs(evidence, pool),
    )


def heading(column: Column) -> str:
    """A column's title.

    >>> heading(Column("j", "helpfulness", None, "grade", (1, 10))), heading(Column("j", "adherence", None, "win rate", (0, 1)))
    ('helpfulness, mean grade from 1 to 10', 'adherence, win rate')
    """
    if column.what == "grade":
        return f"{column.dimension}, mean grade from {column.scale[0]:g} to {column.scale[1]:g}"
    return f"{column.dimension}, {column.what}"


def cell(column: Column, i: Interval) -> Cell:
    """A number of a column for people: shares in per cent, grades as they are."""
    low, high = column.scale
    warmth = (i.value - low) / (high - low) if high > low else 0.5
    if column.what == "grade":
        shown = (f"{i.value:.2f}", f"{i.low:.2f}", f"{i.high:.2f}")
    elif column.what == "rating":
        shown = (f"{i.value:.0f}", f"{i.low:.0f}", f"{i.high:.0f}")
    else:
        shown = (f"{100 * i.value:.1f} %", f"{100 * i.low:.1f}", f"{100 * i.high:.1f}")
    return Cell(*shown, i.n, i.clusters, track(i, low, high), round(min(1.0, max(0.0, warmth)), 3))


def missing(name: str, judged: Judged) -> list[str]:
    """What a folder that is not finished, or not whole, lacks."""
    out = []
    if not judged.facts:
        out.append(f"{name}: judging is not finished; there is no judging.json yet, and verdicts may follow.")
    if not judged.records:
        out.append(f"{name}: there are no verdicts yet.")
    if not judged.items:
        out.append(f"{name}: there is no items.jsonl, so that prompts and replies cannot be read.")
    elif lost := len({r.item for r in judged.records} - judged.items.keys()):
        out.append(f"{name}: {lost:,} judged items have no row in items.jsonl.")
    return out


def card(pool: Pool) -> list[tuple[str, str]]:
    """(what, how much) of the prompts that were judged."""
    lengths = words_per_reply(pool)
    rows = [
        ("prompts", f"{len(pool.items):,}"),
        ("conversations", f"{len({i.conversation for i in pool.items}):,}"),
        ("models", ", ".join(pool.models)),
        ("replies", f"{sum(len(i.replies) for i in pool.items):,}"),
        ("verdicts", f"{len(pool.seen):,}"),
        ("guardrails in force", f"{len({g for i in pool.items for g in i.guardrails}):,}"),
        *(
            (f"words per reply, {m}", f"{i.value:.1f} [{i.low:.1f}, {i.high:.1f}]")
            for m, i in lengths.items()
        ),
    ]
    values: dict[str, Counter[str]] = {}
    for item in pool.items:
        for key, value in item.meta.items():
            if isinstance(value, str | bool | int):
                values.setdefault(key, Counter())[str(value)] += 1
    for key, counts in values.items():
        if len(counts) <= FEW_VALUES:
            rows.append((key, ", ".join(f"{v} {n:,}" for v, n in counts.most_common())))
    return rows


def frontiers(
    evidence: Evidence, pool: Pool, ranked: Sequence[Board], css: Mapping[str, str]
) -> list[tuple[str, Markup]]:
    """(caption, chart): the first column of each judge against reply length, and against KL where a run of that name logs it."""
    lengths = words_per_reply(pool)
    kls = {m.name: kl for m in evidence.models if (kl := _last_kl(m.training)) is not None}
    moved = {name: Interval(kl, kl, kl, 1, 1) for name, kl in kls.items()}
    out = []
    for board in ranked:
        column = board.columns[0]
        scale = 1.0 if column.what == "grade" else 100.0
        label = heading(column) if column.what == "grade" else f"{heading(column)}, %"
        for places, x_label in (
            (lengths, "words per reply"),
            (moved, "KL of own replies from the reference, nats"),
        ):
            spots = [
                Spot(
                    name,
                    places[name].value,
                    scale * y.value,
                    (places[name].low, places[name].high),
                    (scale * y.low, scale * y.high),
                    css.get(name, "c1"),
                )
                for name, (y, *_) in board.rows
                if y is not None and name in places
            ]
            if len(spots) > 1:
                caption = f"{heading(column)} by {board.judge}, against {x_label}"
                out.append((caption, scatter(spots, caption, x_label, label)))
    return out


def _last_kl(training: Any) -> float | None:
    if training is None:
        return None
    series = training.series("kl", "eval") or training.series("kl", "train")
    return series[-1][1] if series else None


def _costs(evidence: Evidence, pool: Pool) -> list[tuple[str, str, float | None, str]]:
    """(run or folder, what it did, seconds, what it cost) of everything in the report."""
    rows: list[tuple[str, str, float | None, str]] = []
    for m in evidence.models:
        if m.training:
            seconds = m.seconds if m.seconds is not None else m.training.facts.get("seconds")
            rows.append((m.name, f"training, {m.training.objective}", seconds, ""))
    for j, name in zip(pool.judged, pool.names, strict=True):
        seconds, calls = j.facts.get("seconds"), j.facts.get("calls")
        asked = f"{calls:,} calls" if isinstance(calls, int) else said(calls)
        spent = "; ".join(w for w in (asked, said(j.facts.get("cost"))) if w)
        about = f"judging, {len(j.records):,} verdicts"
        rows.append((name, about, seconds if isinstance(seconds, int | float) else None, spent))
    return rows


def said(value: Any) -> str:
    """A value of judging.json in words.

    >>> said({"calls": 20, "dollars": 0.25}), said([1, "two"]), said(None), said(True)
    ('calls: 20, dollars: 0.25', '1, two', '', 'yes')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {said(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
