"""``halign data trace``: where a built row comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from halign import lineage
from halign.cli import data_views as views
from halign.cli.options import File, Reading, reads
from halign.cli.samplers import refuse

SHOWN = 2000
"""Characters of a row that cannot be shown as a conversation."""


@reads
def trace(
    file: File,
    row: Annotated[
        int, typer.Argument(metavar="ROW", help="Number of the row, from 1: the line of a text file.", min=1)
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="The lineage in full as JSON, and nothing else.")
    ] = False,
    *,
    reading: Reading,
) -> None:
    """Show how a row was built: each step with its settings, back to the row that nobody built, with its text. Says where a
    source has changed since.

    halign data trace pairs.jsonl 17
    """
    refuse({"skip_bad": reading.skip_bad}, "on one row")
    links = lineage.trace(file, row, reading.split, reading.encoding)
    mine = lineage.of(links[0].row or {})
    if as_json:
        full = lineage.expand(mine, lineage.read_header(file)) if mine else None
        typer.echo(json.dumps(full, indent=1, ensure_ascii=False, default=str))
        return
    console = Console()
    for link in links:
        _print(console, link, links, reading)
    if mine is None:
        views.note(
            console, f"{file} says nothing of where this row comes from: nobody built it, or not with lineage"
        )


def _print(console: Console, link: lineage.Link, links: list[lineage.Link], reading: Reading) -> None:
    if link.step is not None:
        settings = ", ".join(f"{k}={json.dumps(v, default=str)}" for k, v in link.step.settings.items())
        views.note(console, f"made by {link.step.builder} (halign {link.step.version}) {settings}".rstrip())
    for reply in link.replies:
        views.note(console, f"asked for it: reply {reply}")
    console.print(Rule(Text(f"row {link.number} of {link.file}"), align="left"))
    if link.state in ("changed", "not there", "no such file"):
        console.print(Text(f"  {views.BAD} {_said(link)}", style="bold red"))
    elif link.file_changed:
        views.note(console, "this row is as it was; other rows of the file have changed since")
    last = link.depth == max(other.depth for other in links)
    if link.row is not None and (link.depth == 0 or last or link.state == "changed"):
        _print_row(console, link.row, _options(link, reading))


def _said(link: lineage.Link) -> str:
    return {
        "changed": "this row has changed since; as it stands there now:",
        "not there": "the file has changed since and has no such row any more",
        "no such file": "this file is not there any more",
    }[link.state]


def _options(link: lineage.Link, reading: Reading) -> dict[str, Any]:
    """With what a row is read: as the command line says, or as the step says that made something of it."""
    said = reading.options() if link.step is None else link.step.settings
    return {
        k: said.get(k) for k in ("format", "guardrails", "conversation", "conversation_pattern", "columns")
    }


def _print_row(console: Console, row: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """A row as a conversation, or, where it is none, as JSON."""
    from halign.errors import HalignError
    from halign.readers import read

    shown = {k: v for k, v in row.items() if k != lineage.COLUMN}
    try:
        views.print_example(console, read([shown], **options)[0], None)
    except HalignError:
        text = json.dumps(shown, ensure_ascii=False, indent=1, default=str)
        console.print(Padding(Text(text[:SHOWN] + (" ..." if len(text) > SHOWN else "")), (0, 0, 1, 2)))
