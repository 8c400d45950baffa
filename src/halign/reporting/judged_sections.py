"""The parts of a report that judged folders fill, as plain data for the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from halign.audits import Audit
from halign.evaluate import Interval
from halign.reporting.books import Books
from halign.reporting.conduct import Agreement, Conduct
from halign.reporting.evidence import Evidence
from halign.reporting.pool import Pool
from halign.reporting.sections import track
from halign.reporting.standings import Board, Column, Heat, boards, heats
from halign.reporting.svg import Spot, scatter

HIDDEN = ("command", "seconds", "calls", "cost")
"""Entries of judging.json that have a place of their own in the page."""


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
    """Everything that the template shows of judged folders, but for the explorer.

    Attributes:
        verdicts: how many there are; examined: of how many ratings, audits and agreements are.
    """

    verdicts: int
    examined: int
    boards: list[Board]
    heats: list[Heat]
    frontiers: list[tuple[str, Markup]]
    conduct: list[Conduct]
    audits: list[tuple[str, Audit]]
    agreements: list[Agreement]
    missing: list[str]
    card: list[tuple[str, str]]
    facts: list[tuple[str, list[tuple[str, str]]]]


def judged_part(evidence: Evidence, books: Books, css: Mapping[str, str]) -> JudgedPart:
    """The part of a report with judged folders.

    Args:
        css: model -> class of its colour.
    """
    pool, examined = books.pool, books.examined
    ranked = boards(books.tally, examined.ratings, pool.models)
    return JudgedPart(
        len(pool.seen),
        examined.verdicts,
        ranked,
        heats(books.tally, pool.models),
        frontiers(evidence, books.prompts.lengths, ranked, css),
        books.conduct.rows,
        examined.audits,
        examined.agreements,
        missing(books),
        books.prompts.card(pool),
        [
            (name, [(k, said(v)) for k, v in j.facts.items() if k not in HIDDEN and said(v)])
            for j, name in zip(pool.judged, pool.names, strict=True)
        ],
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


def missing(books: Books) -> list[str]:
    """What folders that are not finished, or not whole, lack."""
    out, pool = [], books.pool
    for j, name, lost, waiting in zip(pool.judged, pool.names, pool.lost, books.waiting, strict=True):
        if not j.facts:
            out.append(
                f"{name}: judging is not finished; there is no judging.json yet, and verdicts may follow."
            )
        if not j.records:
            out.append(f"{name}: there are no verdicts yet.")
        if not j.items:
            out.append(f"{name}: there is no items.jsonl, so that prompts and replies cannot be read.")
        elif lost:
            out.append(f"{name}: {len(lost):,} judged items have no row in items.jsonl.")
        if waiting:
            out.append(f"{name}: {waiting:,} verdicts wait for their prompts and are not shown yet.")
    return out


def frontiers(
    evidence: Evidence, lengths: Mapping[str, Interval], ranked: Sequence[Board], css: Mapping[str, str]
) -> list[tuple[str, Markup]]:
    """(caption, chart): the first column of each judge against reply length, and against KL where a run of that name logs it.

    Args:
        lengths: model -> words per reply.
    """
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


def costs(evidence: Evidence, pool: Pool) -> list[tuple[str, str, float | None, str]]:
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
