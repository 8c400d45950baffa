"""Evidence -> one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from jinja2 import Environment
from markupsafe import Markup

from halign import __version__
from halign.evaluate import ALL, Comparison, measures, score
from halign.reporting import judged_sections, samples, sections
from halign.reporting.environment import environment, policy, template
from halign.reporting.evidence import CONFIG, Evidence, ModelEntry, Training
from halign.reporting.pool import Pool, folder_names, sort_out
from halign.reporting.rewards import reward_panel
from halign.reporting.run_data import run_data
from halign.reporting.secrets import without_secrets
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
    """A report on training runs, judged folders and comparisons, or on full ``Evidence``.

    Args:
        runs: ``Run`` objects, run folders and folders of verdicts, in any order; or an ``Evidence``, which knows more.
        comparisons: what ``halign.compare`` returned.

    Raises:
        HalignError: if a folder is neither a run's nor holds verdicts.
        DataError: a row of a folder that cannot be read.
    """
    return render(runs if isinstance(runs, Evidence) else gather(runs, *comparisons, title=title))


def gather(
    paths: Sequence[Any],
    *comparisons: Comparison,
    title: str | None = None,
    read: Callable[[Path], Training] = Training.read,
) -> Evidence:
    """The evidence in run folders and folders of verdicts. Raises as ``report``.

    Args:
        read: how a run folder is read.
    """
    runs, judged = sort_out(paths)
    entries = []
    paths = [Path(getattr(run, "path", run)) for run in runs]
    for path, name in zip(paths, folder_names(paths), strict=True):
        training = read(path)
        entries.append(ModelEntry(name, f"trained by {training.objective}", path, so_far=training))
    panels = [p for p in map(reward_panel, entries) if p]
    about = entries[0].training.environment if entries and entries[0].training else {}
    names = [*(e.name for e in entries), *folder_names([j.path for j in judged])]
    return Evidence(
        title or " and ".join(names[:3]) or "Comparison",
        entries,
        comparisons=comparisons,
        judged=judged,
        panels=panels,
        data=run_data(entries),
        environment=about,
    )


def render(evidence: Evidence, live: bool = False) -> Report:
    """The page for this evidence; sections without content are left out.

    Args:
        live: the page asks the server that it came from what is new (``reporting.serve``).
    """
    filled = _environment()
    base, shown = evidence.base, _shown(evidence)
    pool = Pool.of(evidence.judged) if evidence.judged else None
    colours = sections.colours(evidence, pool.models if pool else ())
    judged = judged_sections.judged_part(evidence, pool, colours) if pool else None
    script = _script(judged is not None, live)
    context = {
        "version": __version__,
        "css": template("style.css") + (template("explorer.css") if judged else ""),
        "judged": judged,
        "costs": judged.costs if judged else [],
        "commands": [*evidence.commands, *_commands(evidence)],
        "script": script,
        "policy": policy(script, live),
        "headline": headline(evidence),
        "tables": sections.model_tables(evidence),
        "comparisons": sections.comparisons(evidence),
        "frontiers": _frontiers(evidence) if base and len(evidence.answered) <= MANY else [],
        "guardrails": sections.guardrails(evidence, shown, FEW_TURNS),
        "strokes": any(r.grade.inactive for m in evidence.answered for r in m.pooled),
        "shown": shown,
        **_training_context(evidence, colours, live),
        "samples": samples.choose(evidence, shown[0], shown[-1], shown) if base and len(shown) > 1 else [],
        "FEW": FEW_TURNS,
        "environment": json.dumps(dict(evidence.environment), indent=1),
    }
    return Report(without_secrets(filled.get_template("report.html.jinja").render(context)))


def training_section(evidence: Evidence, live: bool = False) -> str:
    """The section about training alone, as HTML."""
    context = _training_context(evidence, sections.colours(evidence), live)
    return _environment().get_template("training.html.jinja").render(context)


def _environment() -> Environment:
    filled = environment()
    filled.filters.update(heading=judged_sections.heading, cell=judged_sections.cell, pct=pct, signed=plus)
    filled.filters["duration"] = lambda s: duration(s) if s is not None else "–"
    filled.filters["figure"] = lambda x: "–" if x is None else f"{x:.3g}"
    return filled


def _training_context(evidence: Evidence, colours: Mapping[str, str], live: bool) -> dict[str, Any]:
    """What the section about training is made from."""
    return {
        "evidence": evidence,
        "live": live,
        "colours": colours,
        "training": sections.training_rows(evidence),
        "curves": [
            (m, sections.curves(m.training, colours[m.name], not evidence.answered))
            for m in evidence.models
            if m.training
        ],
    }


def _script(judged: bool, live: bool) -> Markup:
    names = [*(["reading.js", "explorer.js"] if judged else []), *(["live.js"] if live else [])]
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
