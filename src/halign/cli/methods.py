"""``halign methods``: what there is to train with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[METHOD]", help="Print this one's formula and documentation.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write a Markdown page per method, and an index, into this folder.")
    ] = None,
) -> None:
    """List every objective with what one item is, its settings and defaults, and where it comes from.

    halign methods dpo
    """
    from halign import catalogue

    console = Console()
    if write is not None:
        console.print(f"{len(catalogue.write(write))} pages in {write}", highlight=False)
        return
    if name is not None:
        console.print(catalogue.describe(name).documentation, markup=False, highlight=False, soft_wrap=True)
        return
    table = Table("method", "one item", "settings and defaults", "what it is", "source", show_lines=True)
    for m in catalogue.methods():
        settings = "\n".join(f"{s.name}={s.default}" for s in m.settings)
        table.add_row(m.name, m.item, settings, m.summary, catalogue.short_source(m.source))
    console.print(table)
    for item, what in catalogue.ITEMS.items():
        console.print(f"{item}: {what}", highlight=False)
    console.print(
        "Train with one: halign train METHOD ...; mixtures: dpo+0.2*sft; more: halign methods METHOD"
    )
