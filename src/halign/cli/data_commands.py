"""``halign data`` with all its sub-commands: looking (``data.py``), and one file for each operation on rows."""

from __future__ import annotations

from halign.cli import data_dedupe, data_trace
from halign.cli.data import app

__all__ = ["app"]

app.command("dedupe")(data_dedupe.dedupe)
app.command("trace")(data_trace.trace)
