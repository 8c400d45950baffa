"""``halign data decontaminate``: leave out what stands in a test set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from halign.cli import data_views as views
from halign.cli.data_output import print_outcome
from halign.cli.options import Dropped, File, Output, Overwrite, Reading, reads
from halign.cli.pace import Pace
from halign.curation.minhash import NEAR


@reads
def decontaminate(
    file: File,
    output: Output,
    against: Annotated[list[Path], typer.Option(help="Test file; may be repeated.", show_default=False)],
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the test files that holds texts; may be repeated. Default: prompt, question and the like."
        ),
    ] = None,
    words: Annotated[
        int, typer.Option(help="Length of the runs of words that are compared (GPT-3: 13).", min=1)
    ] = 13,
    least: Annotated[
        int,
        typer.Option(help="Test texts of fewer words only count where a message is just that text.", min=1),
    ] = 8,
    threshold: Annotated[
        float,
        typer.Option(help="Similarity from which texts are nearly the same, above 0; 1: not looked for."),
    ] = NEAR,
    common: Annotated[
        int | None,
        typer.Option(
            help="A run or whole text that stands in more rows than this is a common phrase (GPT-3: 10). Default: none is."
            " Test sets of conversations want it.",
            min=0,
        ),
    ] = None,
    show: Annotated[int, typer.Option("-n", "--number", help="How many matches to show.", min=0)] = 5,
    dropped: Dropped = False,
    overwrite: Overwrite = False,
    *,
    reading: Reading,
) -> None:
    """Leave out rows that share a run of words with a test set, or a short text of it, or nearly a whole text; show what they
    share. All messages and responses of a row are searched; memory grows with the test sets only.

    halign data decontaminate train.jsonl clean.jsonl --against test.jsonl
    """
    from halign.curation.decontaminate import decontaminate as leave_out
    from halign.curation.source import check_output

    check_output(output, overwrite, file, *against)
    source = reading.source(file)
    outcome, matches, tests = leave_out(
        source,
        output,
        against,
        columns=column or (),
        run=words,
        least=least,
        threshold=threshold,
        common=common,
        dropped=dropped,
        watch=Pace(),
    )
    console = Console()
    for number, match in matches[:show]:
        alike = f", similarity {match.similarity:.2f}" if match.similarity < 1 else ""
        views.note(console, f"row {number}: {match.how} as row {match.row} of {match.file}{alike}")
        console.print(Padding(Text(match.words[:400], style="italic"), (0, 0, 0, 4)))
    print_outcome(console, file, output, outcome, source.skipped, dropped)
    views.print_table(
        console,
        "test sets",
        [(name, f"{found:,} rows of it found, of {n:,} texts") for name, (n, found) in tests.items()],
    )
