"""How fast rows go by: a line that is kept up to date on a terminal, and one every ten seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

T = TypeVar("T")
EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class Pace:
    """Wraps rows to show how many have gone by, and how many a second.

    Args:
        note: what else is said of them now, such as what they have cost.
    """

    def __init__(self, console: Console | None = None, note: Callable[[], str] = str) -> None:
        self.console, self.note = console or Console(stderr=True), note

    def __call__(self, rows: Iterable[T], name: str) -> Iterator[T]:
        """The same rows."""
        start = said = time.monotonic()
        count = 0
        show = self.console.is_terminal
        columns = (SpinnerColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self.console, transient=True, disable=not show) as bar:
            task = bar.add_task(name)
            for row in rows:
                yield row
                count += 1
                now = time.monotonic()
                if now - said >= (0.2 if show else EVERY):
                    said, line = now, paced(name, count, now - start, self.note())
                    bar.update(task, description=line)
                    if not show:
                        self.console.print(line, highlight=False, markup=False)


def paced(name: str, count: int, seconds: float, note: str = "") -> str:
    """One line.

    >>> paced("comparing", 12000, 4.0, "cost 0.12")
    'comparing: 12,000 rows, 3,000 rows/s, cost 0.12'
    """
    rate = f"{name}: {count:,} rows, {count / max(seconds, 1e-9):,.0f} rows/s"
    return f"{rate}, {note}" if note else rate
