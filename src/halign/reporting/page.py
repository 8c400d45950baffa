"""Evidence -> one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from halign import __version__
from halign.evaluate import ALL, Comparison, measures, score
from halign.reporting import samples, sections
from halign.reporting.environment import environment
from halign.reporting.evidence import Evidence, ModelEntry, Training
from halign.reporting.rewards import reward_panel
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
    """A report on training runs and comparisons, or on full ``Evidence``.

    Args:
        runs: ``Run`` objects or run folders; or an ``Evidence``, which knows more.
        comparisons: what ``halign.compare`` returned.
    """
    if isinstance(runs, Evidence):
        return render(runs)
    entries = []
    for run in runs:
        path = Path(getattr(run, "path", run))
        training = Training.read(path)
        entries.append(ModelEntry(path.name, f"trained by {training.objective}", path))
    panels = [p for p in map(reward_panel, entries) if p]
    about = entries[0].training.environment if entries and entries[0].training else {}
    named = title or " and ".join(e.name for e in entries[:3]) or "Comparison"
    return render(Evidence(named, entries, comparisons=comparisons, panels=panels, environment=about))


def render(evidence: Evidence) -> Report:
    """The page for this evidence; sections without content are left out."""
    filled = environment()
    filled.filters.update(pct=pct, signed=plus, duration=lambda s: duration(s) if s is not None else "–")
    filled.filters["figure"] = lambda x: "–" if x is None else f"{x:.3g}"
    base, shown = evidence.base, _shown(evidence)
    context = {
        "evidence": evidence,
        "version": __version__,
        "css": Markup(files("halign.reporting").joinpath("templates/style.css").read_text()),
        "headline": headline(evidence),
        "tables": sections.model_tables(evidence),
        "comparisons": sections.comparisons(evidence),
        "frontiers": _frontiers(evidence) if base and len(evidence.answered) <= MANY else [],
        "guardrails": sections.guardrails(evidence, shown, FEW_TURNS),
        "strokes": any(r.grade.inactive for m in evidence.answered for r in m.pooled),
        "shown": shown,
        "colours": sections.colours(evidence),
        "training": sections.training_rows(evidence),
        "curves": [
            (m, sections.curves(m.training, sections.colours(evidence)[m.name], not evidence.answered))
            for m in evidence.models
            if m.training
        ],
        "samples": samples.choose(evidence, shown[0], shown[-1], shown) if base and len(shown) > 1 else [],
        "FEW": FEW_TURNS,
        "environment": json.dumps(dict(evidence.environment), indent=1),
    }
    return Report(filled.get_template("report.html.jinja").render(context))


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
