"""Evidence -> one self-contained HTML file."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from halign import __version__
from halign.errors import HalignError
from halign.evaluate import ALL, Comparison, measures, score
from halign.judges.records import Judged
from halign.reporting import judged_sections, samples, sections
from halign.reporting.books import Books
from halign.reporting.environment import environment, policy, template
from halign.reporting.evidence import CONFIG, Evidence, ModelEntry, Panel, Training
from halign.reporting.pool import folder_names
from halign.reporting.rewards import reward_panel
from halign.reporting.run_data import run_data
from halign.reporting.secrets import without_secrets
from halign.reporting.sources import sort_out
from halign.reporting.words import NAMES, headline, plus
from halign.times import duration

FEW_TURNS = 8
"""Guardrails with fewer turns get no bars."""

MANY = 12
"""With more models than these their names do not fit into a small chart."""


@dataclass(frozen=True)
class Report:
    """A report; ``html`` is the page."""

    html: str

    def save(self, path: str | Path) -> Path:
        """Write the page; the file needs nothing else."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self.html, encoding="utf-8")
        return target


def report(runs: Sequence[Any] | Evidence, *comparisons: Comparison, title: str | None = None) -> Report:
    """A report on training runs, judged folders, results and comparisons, or on full ``Evidence``.

    Args:
        runs: ``Run`` objects, run folders, folders of verdicts, recipes, evaluations and dialogues, files of audits and data, in
            any order; or an ``Evidence``, which knows more.
        comparisons: what ``halign.compare`` returned.

    Raises:
        HalignError: if a path is none of these, or there are none.
        DataError: a row of a folder that cannot be read.
    """
    with _uncollected():
        return render(runs if isinstance(runs, Evidence) else gather(runs, *comparisons, title=title))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without looking for garbage in cycles: verdicts make none, and of many of them the looking takes a quarter of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def gather(paths: Sequence[Any], *comparisons: Comparison, title: str | None = None) -> Evidence:
    """The evidence in whatever ``sources.sort_out`` knows. Raises as ``report``."""
    found = sort_out(paths)
    if not (found.runs or found.judged or found.panels or comparisons):
        raise HalignError("a report needs something to report: name folders of runs, verdicts or results")
    names = folder_names(list(dict.fromkeys(Path(getattr(p, "path", p)).resolve() for p in paths)))
    title = title or " and ".join(names[:3] if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"])
    return evidence_of(found.runs, found.judged, *comparisons, title=title, panels=found.panels)


def evidence_of(
    runs: Sequence[Any],
    judged: Sequence[Judged],
    *comparisons: Comparison,
    title: str | None = None,
    panels: Sequence[Panel] = (),
    read: Callable[[Path], Training] = Training.read,
) -> Evidence:
    """Of run folders (or ``Run`` objects), and of folders of verdicts that have been read. Raises as ``report``.

    Args:
        read: how a run folder is read.
    """
    entries = []
    paths = [Path(getattr(run, "path", run)) for run in runs]
    for path, name in zip(paths, folder_names(paths), strict=True):
        training = read(path)
        entries.append(ModelEntry(name, f"trained by {training.objective}", path, so_far=training))
    panels = [*(p for p in map(reward_panel, entries) if p), *panels]
    about = entries[0].training.environment if entries and entries[0].training else {}
    return Evidence(
        title or "Comparison",
        entries,
        comparisons=comparisons,
        judged=judged,
        panels=panels,
        data=run_data(entries),
        environment=about,
    )


def render(evidence: Evidence, books: Books | None = None, live: str = "") -> Report:
    """The page for this evidence; sections without content are left out.

    Args:
        books: on ``evidence.judged``, where somebody keeps them.
        live: the page asks the server that it came from what is new (``reporting.serve``), which knows it by this word.
    """
    books = books or (Books.of(evidence.judged) if evidence.judged else None)
    base, shown = evidence.base, _shown(evidence)
    packed = books.table.packed() if books and (live or books.pool.seen) else None
    script = _script(packed is not None, bool(live))
    context = {
        **_growing(evidence, books),
        "version": __version__,
        "css": template("style.css") + (template("explorer.css") if books else ""),
        "packed": packed,
        "verdicts": packed.verdicts if packed else 0,
        "live": live,
        "script": script,
        "policy": policy(script, bool(live)),
        "comparisons": sections.comparisons(evidence),
        "frontiers": _frontiers(evidence) if base and len(evidence.answered) <= MANY else [],
        "guardrails": sections.guardrails(evidence, shown, FEW_TURNS),
        "strokes": any(r.grade.inactive for m in evidence.answered for r in m.pooled),
        "shown": shown,
        "samples": samples.choose(evidence, shown[0], shown[-1], shown) if base and len(shown) > 1 else [],
        "FEW": FEW_TURNS,
    }
    return Report(without_secrets(_environment().get_template("report.html.jinja").render(context)))


GROWING = ("nav", "standings", "judges", "training", "costs", "again")
"""Parts of the page that change while jobs run; each has a template of that name."""


def growing_parts(evidence: Evidence, books: Books | None) -> dict[str, str]:
    """Those parts alone, as HTML."""
    filled, context = _environment(), {**_growing(evidence, books), "packed": books is not None}
    for name in (
        "comparisons",
        "guardrails",
        "samples",
    ):  # for the links; folders that are followed have none
        context[name] = []
    return {
        name: without_secrets(filled.get_template(f"{name}.html.jinja").render(context)) for name in GROWING
    }


def _environment() -> Environment:
    filled = environment()
    filled.filters.update(heading=judged_sections.heading, cell=judged_sections.cell, pct=pct, signed=plus)
    filled.filters["duration"] = lambda s: duration(s) if s is not None else "–"
    filled.filters["figure"] = lambda x: "–" if x is None else f"{x:.3g}"
    return filled


def _growing(evidence: Evidence, books: Books | None) -> dict[str, Any]:
    """What the growing parts are made from."""
    colours = sections.colours(evidence, books.pool.models if books else ())
    return {
        "evidence": evidence,
        "colours": colours,
        "judged": judged_sections.judged_part(evidence, books, colours) if books else None,
        "costs": judged_sections.costs(evidence, books.pool) if books else [],
        "commands": [*evidence.commands, *_commands(evidence)],
        "environment": json.dumps(dict(evidence.environment), indent=1),
        "headline": headline(evidence),
        "tables": sections.model_tables(evidence),
        "training": sections.training_rows(evidence),
        "curves": [
            (m, sections.curves(m.training, colours[m.name], not evidence.answered))
            for m in evidence.models
            if m.training
        ],
    }


def _script(judged: bool, live: bool) -> Markup:
    names = [
        *(["texts.js", "search.js", "reading.js", "explorer.js"] if judged else []),
        *(["live.js"] if live else []),
    ]
    return Markup("\n").join(map(template, names))


def _commands(evidence: Evidence) -> list[tuple[str, str]]:
    """(what it does, command) for the folders that say how they came about."""
    if evidence.commands:
        return []
    runs = [(m.name, m.training) for m in evidence.models if m.training]
    folders = zip(evidence.judged, folder_names([j.path for j in evidence.judged]), strict=True)
    return [
        *((f"Train {name} again", run_command(name, t)) for name, t in runs),
        *((f"Judge {name} again", str(j.facts["command"])) for j, name in folders if "command" in j.facts),
    ]


def run_command(name: str, training: Training) -> str:
    """The command that does a run again in a new folder."""
    loop = training.settings.get("loop")
    start = f"halign run {quote(str(loop))}" if loop else "halign train"
    return f"{start} --config {quote(str(training.path / CONFIG))} --output {quote(f'NEW/{name}')}"


def _frontiers(evidence: Evidence) -> list[tuple[str, Markup]]:
    """(what is drawn, chart): the conjunction of all dimensions, if there are several, and the guardrails."""
    known = sections.distinct(measures(evidence.answered[0].pooled))
    charts = {m: sections.frontier(evidence, m) for m in (ALL, "adherence") if m in known}
    return [(NAMES[m], chart) for m, chart in charts.items() if chart]


def _shown(evidence: Evidence) -> list[str]:
    """Models whose replies stand side by side: the base, what the best is compared with, and the best."""
    base = evidence.base
    trained = [m for m in evidence.answered if m is not base and not m.untrained]
    if base is None or not trained:
        return [m.name for m in evidence.answered[:3]]
    best = max(trained, key=lambda m: score(m.pooled).shares[ALL].value).name
    rival = next((b for a, b in evidence.pairs if a == best), None) or next(
        (a for a, b in evidence.pairs if b == best), None
    )
    return [base.name, *([rival] if rival and rival != base.name else []), best]


def pct(x: float | None) -> str:
    """A share in per cent.

    >>> pct(0.614), pct(None)
    ('61 %', '–')
    """
    return "–" if x is None else f"{100 * x:.0f} %"
