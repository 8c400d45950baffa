"""What operations on rows have in common on the command line: where they write, and what they say in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from halign.cli import data_views as views
from halign.curation.output import Outcome, dropped_path
from halign.errors import DataError

SHOWN_ERRORS = 20


def print_outcome(
    console: Console,
    file: Path,
    output: Path,
    outcome: Outcome,
    skipped: Sequence[DataError] = (),
    dropped: bool = False,
) -> None:
    """How many rows were read, kept and dropped, and why."""
    views.list_errors(console, skipped, SHOWN_ERRORS)
    rows = [("read", f"{outcome.read:,}"), ("kept", f"{outcome.kept:,}")]
    rows += [(f"dropped: {why}", f"{n:,}") for why, n in outcome.dropped.most_common()]
    if dropped:
        rows.append(("dropped rows", str(dropped_path(output))))
    views.print_table(console, f"{file.name} -> {output}", rows)
