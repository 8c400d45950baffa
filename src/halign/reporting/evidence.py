"""What a report is made from: models, their replies and runs, and what was compared."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from markupsafe import Markup

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.evaluate import Comparison, Reply
from halign.judges.records import Judged, rows

if TYPE_CHECKING:
    from halign.reporting.words import Statement

CONFIG, METRICS = "config.yaml", "metrics.jsonl"


@dataclass(frozen=True)
class Training:
    """A run folder, read.

    Attributes:
        settings: config.yaml.
        metrics: rows of metrics.jsonl.
        facts: what the ``done`` marker says (steps, seconds); empty for a run that has not finished.
    """

    path: Path
    settings: dict[str, Any]
    metrics: list[dict[str, Any]]
    environment: dict[str, Any]
    preflight: str
    facts: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path, metrics: list[dict[str, Any]] | None = None) -> Training:
        """A run folder, finished or not. A last line that is still being written is left out.

        Args:
            metrics: the rows of metrics.jsonl, where somebody follows that file.

        Raises:
            HalignError: if it is none, or its settings cannot be read.
            DataError: a line of metrics.jsonl that is no row of metrics, before the last.
        """
        folder = Path(path)
        if not (folder / CONFIG).exists():
            raise HalignError(f"{folder} is not a run folder: it has no {CONFIG}")
        preflight = folder / "preflight.txt"
        return cls(
            folder,
            _settings(folder / CONFIG),
            _metrics(folder / METRICS) if metrics is None else metrics,
            _json(folder / "environment.json"),
            preflight.read_text(encoding="utf-8", errors="replace") if preflight.exists() else "",
            _json(folder / "done"),
        )

    def series(self, name: str, split: str) -> list[tuple[float, float]]:
        """(step, value) of one figure; values that are not finite are left out."""
        rows = [(r["step"], r[name]) for r in self.metrics if r.get("split") == split and name in r]
        return [(float(s), float(v)) for s, v in rows if isinstance(v, int | float) and math.isfinite(v)]

    @property
    def objective(self) -> str:
        """The objective in words: its name, or a weighted sum; of a loop without one, the loop's name."""
        weights = self.settings.get("objective", self.settings.get("loop", {}))
        if not isinstance(weights, Mapping):
            return str(weights)
        return " + ".join(n if w == 1 else f"{w:g} {n}" for n, w in weights.items())


@dataclass(frozen=True)
class ModelEntry:
    """One model of a report.

    Attributes:
        about: one sentence: what it is.
        run: its run folder, if it was trained here.
        replies: kind of prompts -> graded replies, in the order of ``Evidence.prompts``.
        seconds: wall time of its training.
        so_far: its run, where that has been read already; else it is read from ``run``.
        untrained: it is what others start from, or was only prompted: never the best of the trained models.
    """

    name: str
    about: str = ""
    run: Path | None = None
    replies: Mapping[str, Sequence[Reply]] = field(default_factory=dict)
    seconds: float | None = None
    untrained: bool = False
    so_far: Training | None = None

    @cached_property
    def training(self) -> Training | None:
        return self.so_far or (Training.read(self.run) if self.run else None)

    @cached_property
    def pooled(self) -> list[Reply]:
        """All replies, whatever the kind of prompt."""
        return [r for replies in self.replies.values() for r in replies]


@dataclass(frozen=True)
class GuardrailText:
    """A guardrail for people.

    Attributes:
        group: style, process, content ...
        unseen: True if no training conversation had it.
        wordings: all sentences that say it.
    """

    id: str
    sentence: str
    group: str = ""
    unseen: bool = False
    wordings: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Panel:
    """A section of a recipe's own: words, a table, charts; what is empty is left out.

    Attributes:
        id: of the anchor.
        columns, rows: of the table, as text; words: how many columns, from the first, hold words and not numbers.
        folded: the table is shown on demand.
    """

    id: str
    title: str
    text: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    charts: Sequence[Markup] = ()
    folded: bool = False
    words: int = 1


@dataclass(frozen=True)
class Evidence:
    """Everything a report shows; what is missing is left out of the page.

    Attributes:
        baseline: name of the model everything started from.
        pairs: (A, B): models to compare reply by reply.
        findings: what stands first; empty: what follows from the graded replies (``words.headline``).
        judged: folders of verdicts, for the leaderboard, the heat map and the explorer.
        panels: sections of a recipe's own, shown first.
        prompts: kind -> the prompts that were answered.
        kinds: kind -> what it means, in words.
        data: (what, how much) of the training and test data.
        commands: (what it does, command).
    """

    title: str
    models: Sequence[ModelEntry]
    baseline: str | None = None
    pairs: Sequence[tuple[str, str]] = ()
    comparisons: Sequence[Comparison] = ()
    findings: Sequence[Statement] = ()
    judged: Sequence[Judged] = ()
    panels: Sequence[Panel] = ()
    prompts: Mapping[str, Sequence[Dialogue]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    guardrails: Mapping[str, GuardrailText] = field(default_factory=dict)
    intro: str = ""
    judged_by: str = ""
    data: Sequence[tuple[str, str]] = ()
    commands: Sequence[tuple[str, str]] = ()
    settings: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def origin(self) -> str:
        """The model from which distances are measured, in words."""
        return "the base" if self.baseline in ("base", None) else str(self.baseline)

    def model(self, name: str) -> ModelEntry:
        """The model of that name."""
        return next(m for m in self.models if m.name == name)

    @property
    def answered(self) -> list[ModelEntry]:
        """The models that have replies."""
        return [m for m in self.models if m.replies]

    @property
    def base(self) -> ModelEntry | None:
        """The baseline, if it has answered."""
        return next((m for m in self.answered if m.name == self.baseline), None)


def _settings(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as e:
        found = e
    if not isinstance(found, dict):
        why = f"it is not YAML ({found})" if isinstance(found, Exception) else "it holds no settings"
        raise HalignError(
            f"{file} cannot be read: {why}; restore it, or leave {file.parent} out of the report"
        )
    return found


def _metrics(file: Path) -> list[dict[str, Any]]:
    found = []
    for number, row in rows(file):
        if not is_metrics(row):
            raise DataError(
                "not a row of metrics, which has a step; delete the line, or leave the run out of the report",
                file=str(file),
                line=number,
            )
        found.append(row)
    return found


def is_metrics(row: Any) -> bool:
    """Whether a row of metrics.jsonl can be drawn: it has a step.

    >>> is_metrics({"step": 1, "loss": 0.5, "split": "train"}), is_metrics({"loss": 0.5}), is_metrics([1])
    (True, False, False)
    """
    return isinstance(row, dict) and isinstance(row.get("step"), int | float)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
