"""What a run shows while it works: phases, a bar with the figures that matter, warnings once."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Display:
    """A progress display on a terminal; plain lines now and then where there is none; silent if asked."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, quiet=quiet)
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=quiet or not self.console.is_terminal,
        )
        self._task: TaskID | None = None
        self._name = ""
        self._quiet = quiet
        self._next_line = 0.0

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Begin something of ``total`` parts."""
        if self._task is not None:
            self._progress.update(self._task, visible=False)
        self._name, self._next_line = name, 0.0
        self._task = self._progress.add_task(name, total=total, completed=done, note="")

    def advance(self, done: int, total: int, note: str = "") -> None:
        """Say how far it is."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total, note=note)
        if not self._quiet and not self.console.is_terminal and total and done / total >= self._next_line:
            self.console.print(f"{self._name} {done}/{total} {note}", highlight=False)
            self._next_line = done / total + 0.1

    def say(self, text: str, style: str = "") -> None:
        """A line above the bar."""
        self.console.print(text, style=style, highlight=False)

    def warn(self, text: str) -> None:
        """A line that should be read."""
        self.say(f"warning: {text}", style="yellow")


def step_note(row: Mapping[str, Any]) -> str:
    """The figures beside the bar: loss, what it is about, speed, sharing.

    >>> step_note({"loss": 0.69312, "accuracy": 0.5, "tokens_per_s": 1234.4, "sharing": 3.21})
    'loss 0.693  accuracy 0.50  1,234 tok/s  sharing 3.2x'
    """
    parts = [f"loss {row['loss']:.4g}" if abs(row["loss"]) >= 1e4 else f"loss {row['loss']:.3f}"]
    shown = [
        n for n in ("accuracy", "margin", "nll") if n in row and not (n == "nll" and row[n] == row["loss"])
    ]
    parts += [f"{name} {row[name]:.2f}" for name in shown]
    parts.append(f"{row['tokens_per_s']:,.0f} tok/s")
    parts.append(f"sharing {row['sharing']:.1f}x")
    return "  ".join(parts)
