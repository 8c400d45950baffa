"""What the user sees while a pipeline runs: what is being done, why, how far it is, and how long it will
take.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from halign.recipes.stages import Stage
from halign.times import duration

TALLEST = 30
"""Stages that are shown a line each."""


class Board(Protocol):
    """Told by the engine what happens."""

    def start(
        self, stages: Sequence[Stage], cached: Collection[str], todo: Sequence[Stage], workers: int
    ) -> None: ...
    def begin(self, name: str) -> None: ...
    def progress(self, name: str, done: int, total: int, note: str) -> None: ...
    def finish(self, name: str) -> None: ...
    def fail(self, name: str) -> None: ...
    def tick(self) -> None: ...
    def stop(self) -> None: ...


class SilentBoard:
    """Shows nothing."""

    def start(
        self, stages: Sequence[Stage], cached: Collection[str], todo: Sequence[Stage], workers: int
    ) -> None: ...
    def begin(self, name: str) -> None: ...
    def progress(self, name: str, done: int, total: int, note: str) -> None: ...
    def finish(self, name: str) -> None: ...
    def fail(self, name: str) -> None: ...
    def tick(self) -> None: ...
    def stop(self) -> None: ...


@dataclass
class _Line:
    stage: Stage
    state: str = "waiting"  # waiting, cached, running, done, failed
    since: float = 0.0
    took: float = 0.0
    share: float = 0.0
    note: str = ""


class RichBoard:
    """A live table on a terminal, one line per event elsewhere."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.lines: dict[str, _Line] = {}
        self.live: Live | None = None
        self.workers = 1
        self.began = 0.0
        self.number = 0

    def start(
        self, stages: Sequence[Stage], cached: Collection[str], todo: Sequence[Stage], workers: int
    ) -> None:
        self.lines = {s.name: _Line(s, "cached" if s.name in cached else "waiting") for s in stages}
        self.todo = {s.name for s in todo}
        self.workers, self.began, self.number = workers, time.monotonic(), 0
        if not todo:
            self.console.print("Everything is there already; nothing to do.")
        elif self.console.is_terminal:
            self.live = Live(self._view(), console=self.console, refresh_per_second=4, transient=False)
            self.live.start()
        else:
            there = f", {len(cached)} are there already" if cached else ""
            self.console.print(f"{len(todo)} stages to do{there}")

    def begin(self, name: str) -> None:
        line = self.lines[name]
        line.state, line.since = "running", time.monotonic()
        self.number += 1
        if self.live is None:
            why = f" ({line.stage.why})" if line.stage.why else ""
            self.console.print(
                f"[{self.number}/{len(self.todo)}] {line.stage.title or name}{why}", markup=False
            )
        self.tick()

    def progress(self, name: str, done: int, total: int, note: str) -> None:
        line = self.lines[name]
        if line.state == "running":
            line.share, line.note = (done / total if total else 0.0), note

    def finish(self, name: str) -> None:
        line = self.lines[name]
        line.state, line.took = "done", time.monotonic() - line.since
        if self.live is None:
            left = duration(self.remaining())
            text = f"    {name}: {duration(line.took)}; about {left} left"
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
        self.tick()

    def fail(self, name: str) -> None:
        self.lines[name].state = "failed"
        self.tick()

    def tick(self) -> None:
        if self.live is not None:
            self.live.update(self._view())

    def stop(self) -> None:
        if self.live is not None:
            self.live.update(self._view())
            self.live.stop()
            self.live = None

    def remaining(self) -> float:
        """Seconds left: what the guesses say, scaled by how the guesses did so far, spread over the
        workers.
        """
        lines = [self.lines[n] for n in self.todo]
        done = [x for x in lines if x.state == "done"]
        guessed = sum(x.stage.cost for x in done)
        scale = sum(x.took for x in done) / guessed if guessed > 5 else 1.0
        left = {x.stage.name: self._left(x, scale) for x in lines}
        longest: dict[str, float] = {}
        for name, line in self.lines.items():  # in order: inputs come first
            before = max((longest.get(i.name, 0.0) for i in line.stage.inputs.values()), default=0.0)
            longest[name] = before + left.get(name, 0.0)
        return max(sum(left.values()) / self.workers, max(longest.values(), default=0.0))

    def _left(self, line: _Line, scale: float) -> float:
        if line.state in ("done", "cached", "failed"):
            return 0.0
        if line.state == "waiting":
            return line.stage.cost * scale
        spent = time.monotonic() - line.since
        if line.share > 0.1:
            return spent * (1 - line.share) / line.share
        return max(line.stage.cost * scale - spent, 1.0)

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(no_wrap=True)
        table.add_column(width=18)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        whys = []
        shown = list(self.lines.values())
        if (
            len(shown) > TALLEST
        ):  # more than a terminal is high: what is going on, and how much of the rest there is
            states = Counter(line.state for line in shown)
            table.add_row("", f"[dim]{', '.join(f'{n} {state}' for state, n in states.items())}", "", "", "")
            shown = [line for line in shown if line.state in ("running", "failed")]
        for line in shown:
            title = line.stage.title or line.stage.name
            if line.state == "running":
                spent = duration(time.monotonic() - line.since)
                bar = ProgressBar(total=1.0, completed=line.share, width=18, pulse=not line.share)
                table.add_row("[cyan]●", f"[bold]{title}", bar, spent, f"[dim]{line.note}")
                if line.stage.why:
                    whys.append(line.stage.why)
            elif line.state == "done":
                table.add_row("[green]✓", title, "", duration(line.took), "")
            elif line.state == "cached":
                table.add_row("[green]✓", f"[dim]{title}", "", "", "[dim]there already")
            elif line.state == "failed":
                table.add_row("[red]✗", f"[red]{title}", "", "", "[red]failed")
            else:
                table.add_row("[dim]·", f"[dim]{title}", "", "", "")
        spent, left = duration(time.monotonic() - self.began), duration(self.remaining())
        foot = Text(f"\n{spent} so far, about {left} left", style="bold")
        return Group(table, *(Text(f"  {w}", style="italic") for w in whys), foot)
