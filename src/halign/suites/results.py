"""What an evaluation found, as JSON and as a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halign.evaluate import Interval
from halign.suites.contract import Suite, SuiteSettings
from halign.suites.totals import broken_down, changes, disagreements, totals, troubles

if TYPE_CHECKING:
    from halign.suites.run import Part

RESULTS, TABLE = "results.json", "results.txt"
SHOWN = 40
"""Lines of a break-down that the table shows."""

Measures = dict[str, Interval]


@dataclass(frozen=True)
class SuiteResult:
    """One set.

    Attributes:
        questions: how many were asked; cut_off: share of the replies that ended at ``max_new_tokens``.
        measures: measure -> interval; before: the same of the model before; changes: after less before, paired.
        groups: key -> its value -> measure -> interval.
        troubles: why a verdict did not come -> how often.
        disagreement: share of the comparisons whose two orders disagree.
    """

    name: str
    questions: int
    settings: dict[str, Any]
    measures: Measures
    groups: dict[str, dict[str, Measures]]
    cut_off: float
    troubles: dict[str, int]
    disagreement: float | None = None
    before: Measures = field(default_factory=dict)
    changes: Measures = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "questions": self.questions,
            "settings": self.settings,
            "measures": _plain(self.measures),
            "groups": {k: {v: _plain(m) for v, m in of.items()} for k, of in self.groups.items()},
            "cut_off": self.cut_off,
            "troubles": self.troubles,
            "disagreement": self.disagreement,
            "before": _plain(self.before),
            "changes": _plain(self.changes),
            "remarks": list(self.remarks),
        }

    def table(self) -> str:
        """Measures, then break-downs, then what is to be known."""
        lines = [f"{self.name}: {self.questions} questions"]
        for name, interval in self.measures.items():
            change = self.changes.get(name)
            against = f"   change {_signed(change)}" if change is not None else ""
            lines.append(f"  {name:<44} {_shown(interval)}{against}")
        for key, values in self.groups.items():
            if len(values) > 1:
                lines.append(f"  by {key}")
                some = list(values.items())[:SHOWN]
                for value, measures in some:
                    told = ", ".join(f"{name} {_shown(i)}" for name, i in measures.items())
                    lines.append(f"    {value[:48]:<48} {told}")
                if len(values) > len(some):
                    lines.append(f"    and {len(values) - len(some)} more in {RESULTS}")
        if self.cut_off:
            lines.append(f"  {self.cut_off:.1%} of the replies were cut off at max_new_tokens")
        if self.disagreement is not None:
            lines.append(f"  the two orders disagree on {self.disagreement:.1%} of the comparisons")
        lines += [f"  no verdict: {n} {why}" for why, n in self.troubles.items()]
        return "\n".join([*lines, *(f"  {r}" for r in self.remarks)])


@dataclass(frozen=True)
class Results:
    """All sets."""

    model: str
    before: str | None
    suites: tuple[SuiteResult, ...]
    command: str = ""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        from halign.models import environment

        return {
            "model": self.model,
            "before": self.before,
            "suites": {s.name: s.to_dict() for s in self.suites},
            "command": self.command,
            "environment": environment(),
        }

    def table(self) -> str:
        """The result as plain text: values with 95 % intervals, clustered by conversation or question."""
        head = self.model + (f", changes against {self.before} on the same questions" if self.before else "")
        return "\n\n".join([head, *(s.table() for s in self.suites)])

    def save(self, folder: Path) -> None:
        """Write results.json and results.txt."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / RESULTS).write_text(text + "\n")
        (folder / TABLE).write_text(self.table() + "\n")


def summary(suite: Suite, settings: SuiteSettings, now: Part, before: Part | None = None) -> SuiteResult:
    """The numbers of one set from its verdicts, and against the model before."""
    records = now.judged.records
    metas: Mapping[str, Mapping[str, Any]] = {k: i.meta for k, i in now.judged.items.items()}
    cut = [not done for a in now.answered for draw in a.finished for done in draw]
    old = before.judged.records if before is not None else []
    return SuiteResult(
        name=suite.name,
        questions=len(now.answered),
        settings=settings.model_dump(mode="json"),
        measures={**totals(records), **now.totals},
        groups=broken_down(records, metas, suite.groups),
        cut_off=sum(cut) / len(cut) if cut else 0.0,
        troubles=troubles(records),
        disagreement=disagreements(records),
        before={**totals(old), **before.totals} if before is not None else {},
        changes=changes(records, old) if before is not None else {},
        remarks=tuple(now.remarks),
    )


def _plain(measures: Measures) -> dict[str, Any]:
    return {name: interval.to_dict() for name, interval in measures.items()}


def _digits(interval: Interval) -> int:
    """Three for shares, two for grades, one for what goes to a hundred."""
    most = max(abs(interval.value), abs(interval.low), abs(interval.high))
    return 3 if most <= 1 else 2 if most <= 20 else 1


def _shown(i: Interval) -> str:
    d = _digits(i)
    return f"{i.value:.{d}f} [{i.low:.{d}f}, {i.high:.{d}f}]"


def _signed(i: Interval) -> str:
    d = _digits(i)
    return f"{i.value:+.{d}f} [{i.low:+.{d}f}, {i.high:+.{d}f}]"
