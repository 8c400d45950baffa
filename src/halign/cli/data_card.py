"""``halign data card``: one HTML page on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halign.cli.options import File, Reading, reads
from halign.cli.pace import Pace
from halign.curation.minhash import NEAR


@reads
def card(
    file: File,
    output: Annotated[Path, typer.Option(help="The page, .html.", show_default=False)],
    title: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    description: Annotated[str | None, typer.Option(help="What it is, in a sentence or two.")] = None,
    licence: Annotated[str | None, typer.Option(help="Under which licence it stands.")] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from.")] = None,
    threshold: Annotated[
        float, typer.Option(help="Similarity from which rows are near-duplicates, above 0 up to 1.")
    ] = NEAR,
    *,
    reading: Reading,
) -> None:
    """Write a self-contained page: counts, lengths, balance, repeats, examples, licence and source, how it was built.

    Title, description, licence and source may also stand in FILE.card.yaml beside the data.

    halign data card pairs.jsonl --output card.html
    """
    from halign.reporting.data_card import data_card

    rows = reading.source(file)
    said = {"title": title, "description": description, "licence": licence, "source": source}
    about = {k: v for k, v in said.items() if v}
    typer.echo(
        f"card written: {data_card(rows, about=about, threshold=threshold, watch=Pace()).save(output)}"
    )
