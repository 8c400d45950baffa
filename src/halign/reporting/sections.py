"""The parts of a report, as plain data for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from halign.evaluate import (
    ALL,
    Comparison,
    Interval,
    Reply,
    by_guardrail,
    compare_grades,
    measures,
    score,
)
from halign.judges import Verdict
from halign.reporting.evidence import Evidence, ModelEntry, Training
from halign.reporting.svg import Series, Spot, lines, scatter
from halign.reporting.words import NAMES

VERDICT_CSS = {Verdict.A: "a", Verdict.BOTH: "both", Verdict.NEITHER: "neither", Verdict.B: "b"}
"""In the order in which a bar shows them."""


@dataclass(frozen=True)
class Table:
    """The models on one kind of prompts."""

    title: str
    about: str
    columns: list[str]
    rows: list[dict[str, Any]]
    n: int
    conversations: int


def colours(evidence: Evidence, judged: Sequence[str] = ()) -> dict[str, str]:
    """Model -> class of the style sheet, those that were only judged included; the baseline is grey."""
    names = [
        n for n in dict.fromkeys([*(m.name for m in evidence.models), *judged]) if n != evidence.baseline
    ]
    return {**{n: f"c{1 + i % 7}" for i, n in enumerate(names)}, str(evidence.baseline): "c0"}


def model_tables(evidence: Evidence) -> list[Table]:
    """All prompts together first, then each kind."""
    if not evidence.answered:
        return []
    kinds = list(evidence.prompts)
    tables = [_table(evidence, "All prompts", "", [(m, m.pooled) for m in evidence.answered])]
    if len(kinds) > 1:
        for kind in kinds:
            rows = [(m, list(m.replies[kind])) for m in evidence.answered]
            tables.append(_table(evidence, f"Histories: {kind}", evidence.kinds.get(kind, ""), rows))
    return tables


def _table(
    evidence: Evidence, title: str, about: str, models: Sequence[tuple[ModelEntry, Sequence[Reply]]]
) -> Table:
    names = distinct(measures(models[0][1]))
    best = {m: max(score(r).shares[m].value for _, r in models) for m in names}
    rows = []
    for model, replies in models:
        s = score(replies)
        rows.append(
            {
                "name": model.name,
                "about": model.about,
                "shares": [(s.shares[m], s.shares[m].value == best[m]) for m in names],
                "kl": s.kl if model.name != evidence.baseline else None,
                "tokens": s.tokens.value,
                "unfinished": s.unfinished.value,
                "repeats": s.repeats.value,
            }
        )
    any_share = score(models[0][1]).shares[ALL]
    columns = [NAMES.get(m, m) for m in names]
    return Table(title, about, columns, rows, any_share.n, any_share.clusters)


def comparisons(evidence: Evidence) -> list[dict[str, Any]]:
    """Each pair: verdict shares and advantage per dimension, on all prompts and on each kind."""
    out: list[dict[str, Any]] = []
    for a, b in evidence.pairs:
        of_a, of_b = evidence.model(a), evidence.model(b)
        whole = compare_grades(a, b, of_a.pooled, of_b.pooled, ALL)
        kinds = [
            (kind, _dimensions(compare_grades(a, b, of_a.replies[kind], of_b.replies[kind], ALL)))
            for kind in evidence.prompts
        ]
        out.append(
            {"a": a, "b": b, "dimensions": _dimensions(whole), "kinds": kinds if len(kinds) > 1 else []}
        )
    out += [{"a": c.a, "b": c.b, "dimensions": _dimensions(c), "kinds": []} for c in evidence.comparisons]
    reach = max((abs(v) for c in out for d in c["dimensions"] for v in (d["low"], d["high"])), default=0.1)
    for c in out:
        for d in [*c["dimensions"], *(d for _, ds in c["kinds"] for d in ds)]:
            d["track"] = track(d["advantage"], -reach, reach)
    return out


def distinct(names: Sequence[str]) -> list[str]:
    """The measures without their conjunction where that is one of them again.

    >>> distinct(["adherence", ALL]), len(distinct(["adherence", "naturalness", ALL]))
    (['adherence'], 3)
    """
    return [n for n in names if n != ALL or len(names) != 2]


def _dimensions(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for name in distinct(tuple(comparison.dimensions)):
        d = comparison.dimensions[name]
        rows.append(
            {
                "name": NAMES.get(name, name),
                "shares": [(css, v.value, d.shares[v].value) for v, css in VERDICT_CSS.items()],
                "advantage": d.advantage,
                "low": d.advantage.low,
                "high": d.advantage.high,
                "winner": {"A": "a", "B": "b"}.get(d.verdict, ""),
                "disagreements": d.disagreements,
            }
        )
    return rows


def track(i: Interval, low: float, high: float) -> dict[str, float]:
    """Where an interval lies on a line from ``low`` to ``high``, in per cent of its width.

    >>> track(Interval(0.0, -0.5, 0.5, 10, 10), -1, 1)
    {'left': 25.0, 'width': 50.0, 'dot': 50.0}
    """

    def at(x: float) -> float:
        return min(100.0, max(0.0, 100 * (x - low) / (high - low)))

    left = at(i.low)
    return {"left": round(left, 2), "width": round(at(i.high) - left, 2), "dot": round(at(i.value), 2)}


def guardrails(evidence: Evidence, shown: Sequence[str], few: int = 0) -> list[dict[str, Any]]:
    """Per guardrail and model: kept where in force, same behaviour where not. Grouped, most turns first.

    Args:
        few: rows with fewer turns get no heading (the page draws no bars for them).
    """
    scores = {m.name: by_guardrail(m.pooled) for m in evidence.answered}
    names = sorted({g for of in scores.values() for g, s in of.items() if s.active is not None})
    rows: list[dict[str, Any]] = []
    for g in names:
        text = evidence.guardrails.get(g)
        cells = {n: s[g] for n, s in scores.items() if g in s}
        turns = max((s.active.n for s in cells.values() if s.active), default=0)
        rows.append(
            {
                "sentence": text.sentence if text else g,
                "group": text.group if text else "",
                "unseen": bool(text and text.unseen),
                "turns": turns,
                "cells": [cells.get(m.name) for m in evidence.answered],
                "bars": [(n, cells[n]) for n in shown if n in cells],
            }
        )
    order = {"style": 0, "process": 1, "content": 2}
    rows.sort(
        key=lambda r: (r["unseen"], order.get(str(r["group"]), 9), str(r["group"]), -int(str(r["turns"])))
    )
    before = None
    for r in rows:
        if few and len(rows) > 12 and r["turns"] < few:
            r["heading"] = ""
            continue
        group = "Not in force in any training conversation" if r["unseen"] else str(r["group"]).capitalize()
        r["heading"] = group if group != before else ""
        before = group
    return rows


def frontier(evidence: Evidence, measure: str = ALL) -> Markup:
    """What each model reaches against how far it moved from the baseline."""
    css = colours(evidence)
    spots = []
    for m in evidence.answered:
        s = score(m.pooled)
        if s.kl is None and m.name != evidence.baseline:
            return Markup("")
        x = (
            (s.kl.value, s.kl.low, s.kl.high)
            if s.kl is not None and m.name != evidence.baseline
            else (0, 0, 0)
        )
        y = s.shares[measure]
        spots.append(
            Spot(m.name, x[0], 100 * y.value, (x[1], x[2]), (100 * y.low, 100 * y.high), css[m.name])
        )
    label = f"% {NAMES.get(measure, measure)}"
    return scatter(spots, f"{label} against KL", f"KL from {evidence.origin}, nats per reply", label)


CURVES = (
    ("loss", "loss"),
    ("margin", "reward margin, nats"),
    ("accuracy", "share of pairs with the good reply ahead"),
    ("reward", "reward of own replies"),
    ("kl", "KL of own replies from the reference, nats"),
    ("entropy", "entropy, nats per token"),
)
MORE_CURVES = (
    ("length", "tokens per reply"),
    ("clip_fraction", "share of tokens that are clipped"),
    ("explained_variance", "variance that the critic explains"),
    ("chosen_logratio", "good replies against the reference, nats"),
    ("rejected_logratio", "broken replies against the reference, nats"),
    ("nll", "nats per token"),
    ("gradient_norm", "norm of the gradient"),
    ("learning_rate", "learning rate"),
)


def curves(training: Training, css: str = "c1", more: bool = False) -> list[tuple[str, Markup]]:
    """(title, chart) of each figure that was logged; lines are training steps, points the held-out split."""
    out = []
    for name, title in (*CURVES, *(MORE_CURVES if more else ())):
        drawn = [
            Series("training", training.series(name, "train"), css),
            Series("held out", training.series(name, "eval"), css, marks=True),
        ]
        chart = lines(drawn, f"{title} by step")
        if chart and not (name == "nll" and training.objective == "sft"):
            out.append((title, chart))
    return out


def training_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """What was trained on what: one row per run."""
    rows = []
    for m in evidence.models:
        t = m.training
        if t is None:
            continue
        last = {r["split"]: r for r in t.metrics if "split" in r}
        steps = t.facts.get("steps") or max((r["step"] for r in t.metrics), default=0)
        rows.append(
            {
                "name": m.name,
                "objective": t.objective,
                "rate": t.settings.get("learning_rate"),
                "epochs": t.settings.get("epochs"),
                "batch": t.settings.get("batch_items"),
                "steps": steps,
                "seconds": m.seconds if m.seconds is not None else t.facts.get("seconds"),
                "loss": last.get("eval", last.get("train", {})).get("loss"),
                "accuracy": last.get("eval", {}).get("accuracy"),
                "sharing": last.get("train", {}).get("sharing"),
            }
        )
    return rows
