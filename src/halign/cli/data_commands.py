"""``halign data`` with all its sub-commands: looking (``data.py``), and one file for each operation on rows."""

from __future__ import annotations

from halign.cli import (
    data_build,
    data_card,
    data_decontaminate,
    data_dedupe,
    data_filter,
    data_mix,
    data_prompts,
    data_split,
    data_trace,
)
from halign.cli.data import app

__all__ = ["app"]

app.command("filter")(data_filter.filter)
app.command("mix")(data_mix.mix)
app.command("dedupe")(data_dedupe.dedupe)
app.command("decontaminate")(data_decontaminate.decontaminate)
app.command("split")(data_split.split)
app.command("build")(data_build.build)
app.add_typer(data_prompts.app, name="prompts")
app.command("card")(data_card.card)
app.command("trace")(data_trace.trace)
