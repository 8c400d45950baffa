"""Numbers that recipes, evaluations, dialogues and audits wrote as JSON, as sections of a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from halign.errors import HalignError
from halign.evaluate import Interval
from halign.reporting.evidence import Panel
from halign.reporting.svg import Spot, scatter

RESULTS = "results.json"
FEW = 15
"""Rows of a table that is not folded."""


def stored(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        HalignError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise HalignError(
            f"{file} cannot be read ({e}); run the command that wrote it again, or leave it out of the report"
        ) from None


def results_panels(file: Path, name: str) -> list[Panel]:
    """The sections of a results.json, whoever wrote it.

    Args:
        name: what its folder is called.

    Raises:
        HalignError: it cannot be read, or holds no interval.
    """
    found = stored(file)
    if isinstance(found, Mapping) and isinstance(found.get("suites"), Mapping):
        return [p for suite, of in found["suites"].items() for p in _suite(name, str(suite), of)]
    if isinstance(found, Mapping) and isinstance(found.get("models"), Mapping) and _models(found["models"]):
        return _recipe(name, found)
    rows = [_row(path, i) for path, i in intervals(found)]
    if not rows:
        raise HalignError(
            f"{file} holds no numbers with intervals, so that a report has nothing to show of it"
        )
    return [_panel(name, f"Results of {name}", ("measure", *VALUES), rows)]


def audit_panels(file: Path, name: str) -> list[Panel]:
    """The section of the numbers that ``halign audit --output`` wrote.

    Raises:
        HalignError: it cannot be read, or is none.
    """
    found = stored(file)
    if not isinstance(found, list) or not all(
        isinstance(a, Mapping) and {"judge", "dimension"} <= a.keys() for a in found
    ):
        raise HalignError(f"{file} is not what halign audit --output writes, a list of audits")
    rows = [
        _row((str(a["judge"]), str(a["dimension"]), *path), i, depth=2)
        for a in found
        for path, i in intervals(a)
    ]
    notes = [f"{a['judge']}, {a['dimension']}: {n}" for a in found for n in a.get("notes", ())]
    return [
        _panel(
            f"audit {name}",
            f"Audit of judges: {name}",
            ("judge", "dimension", "measure", *VALUES),
            rows,
            "; ".join(notes),
        )
    ]


VALUES = ("value", "95 % interval", "of")


def intervals(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Interval]]:
    """Every interval of a tree of mappings, with the keys that lead to it.

    >>> list(intervals({"kept": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8, "clusters": 4}, "note": "x"}))
    [(('kept',), Interval(value=0.5, low=0.25, high=0.75, n=8, clusters=4))]
    """
    if not isinstance(tree, Mapping):
        return
    try:
        yield path, Interval(**{k: tree[k] + 0 for k in ("value", "low", "high", "n", "clusters")})
    except (KeyError, TypeError):
        for key, of in tree.items():
            yield from intervals(of, (*path, str(key)))


def words(i: Interval, signed: bool = False) -> tuple[str, str]:
    """A value and its interval, with three digits for shares, two for grades, and one for what goes to a hundred.

    >>> words(Interval(0.5, 0.25, 0.75, 8, 4)), words(Interval(7.25, 6.5, 8, 8, 4), signed=True)
    (('0.500', '0.250 to 0.750'), ('+7.25', '+6.50 to +8.00'))
    """
    most = max(abs(i.value), abs(i.low), abs(i.high))
    form = f"{'+' if signed else ''}.{3 if most <= 1 else 2 if most <= 20 else 1}f"
    value, low, high = (f"{x:{form}}".replace("-", "−") for x in (i.value, i.low, i.high))
    return value, f"{low} to {high}"


def _beneath(i: Interval, signed: bool = False) -> Markup:
    """A cell with the interval beneath its value."""
    return Markup("{}<small>{}</small>").format(*words(i, signed))


def _row(path: Sequence[str], i: Interval, depth: int = 0) -> tuple[str, ...]:
    """``depth`` parts of the path as cells of their own, the rest in one."""
    named = ", ".join(p.replace("_", " ") for p in path[depth:])
    return (*path[:depth], named, *words(i), f"{i.n:,}")


def _panel(
    key: str, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text: str = "", **more: Any
) -> Panel:
    place = "".join(c if c.isalnum() else "-" for c in key)
    named = columns.index(VALUES[0]) if VALUES[0] in columns else 1
    more = {"folded": len(rows) > FEW, "words": named, **more}
    return Panel(f"results-{place}", title, text, columns, rows, **more)


def _suite(name: str, suite: str, of: Mapping[str, Any]) -> list[Panel]:
    """The measures of an evaluation set, and what they are by group."""
    changes = dict(intervals(of.get("changes", {})))
    rows = [
        (*_row(path, i), _beneath(changes[path], signed=True) if path in changes else "–")
        for path, i in intervals(of.get("measures", {}))
    ]
    said = [f"{of['questions']:,} questions."] if isinstance(of.get("questions"), int) else []
    said += [f"{100 * of['cut_off']:.1f} % of the replies were cut off."] if of.get("cut_off") else []
    said += [f"No verdict: {n} {why}." for why, n in (of.get("troubles") or {}).items()]
    said += [str(r) for r in of.get("remarks", ())]
    found = [
        _panel(
            f"{name} {suite}",
            f"{suite}, {name}",
            ("measure", *VALUES, "change"),
            rows,
            " ".join(said),
            folded=False,
        )
    ]
    if groups := [_row(path, i, depth=2) for path, i in intervals(of.get("groups", {}))]:
        columns = ("by", "which", "measure", *VALUES)
        found.append(_panel(f"{name} {suite} groups", f"{suite}, {name}, by group", columns, groups))
    return found


def _models(found: Mapping[str, Any]) -> dict[str, dict[str, Interval]]:
    """Model -> measure -> interval over all prompts, of what a recipe wrote."""
    every = {
        str(model): {p[0]: i for p, i in intervals(of.get("all", {})) if len(p) == 1}
        for model, of in found.items()
        if isinstance(of, Mapping)
    }
    return {model: of for model, of in every.items() if of}


def _recipe(name: str, found: Mapping[str, Any]) -> list[Panel]:
    """The models of a recipe, with what they reach against how far they moved, and their comparisons."""
    models = _models(found["models"])
    measures = list(dict.fromkeys(m for of in models.values() for m in of))
    rows = [(model, *(_beneath(of[m]) if m in of else "–" for m in measures)) for model, of in models.items()]
    panels = [
        _panel(
            name,
            f"The models of {name}",
            ("model", *(m.replace("_", " ") if m != "kl" else "KL, nats per reply" for m in measures)),
            rows,
            "Over all prompts, with 95 % intervals.",
            charts=_frontier(name, models, measures),
            folded=False,
        )
    ]
    compared = [
        (str(c["a"]), str(c["b"]), str(c.get("prompts", "")), *path, *words(i, signed=True), f"{i.n:,}")
        for c in found.get("comparisons", ())
        for path, i in intervals(c.get("advantage", {}))
    ]
    if compared:
        columns = ("A", "B", "prompts", "measure", "advantage of A", *VALUES[1:])
        panels.append(_panel(f"{name} comparisons", f"Comparisons of {name}", columns, compared, words=4))
    if rewards := [_row(path, i, depth=1) for path, i in intervals(found.get("rewards", {}))]:
        panels.append(_panel(f"{name} rewards", f"Rewards of {name}", ("model", "reward", *VALUES), rewards))
    return panels


def _frontier(name: str, models: Mapping[str, Mapping[str, Interval]], measures: Sequence[str]) -> list[Any]:
    """The first measure (of all at once, where there is one) against KL, of models that have both."""
    measure = "all three" if "all three" in measures else next((m for m in measures if m != "kl"), "")
    spots = [
        Spot(
            model,
            of["kl"].value,
            of[measure].value,
            (of["kl"].low, of["kl"].high),
            (of[measure].low, of[measure].high),
        )
        for model, of in models.items()
        if {"kl", measure} <= of.keys()
    ]
    coloured = [replace(s, css=f"c{1 + n % 7}") for n, s in enumerate(spots)]
    title = f"{name}: {measure.replace('_', ' ')} against KL"
    return (
        [scatter(coloured, title, "KL, nats per reply", measure, size=(960, 420))] if len(spots) > 1 else []
    )
