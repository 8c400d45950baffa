"""``halign data dedupe``: leave out rows that say what another says."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from halign.cli import data_views as views
from halign.cli.data_output import print_outcome
from halign.cli.options import Dropped, File, Output, Overwrite, Reading, reads
from halign.cli.pace import Pace
from halign.curation.minhash import NEAR


class By(StrEnum):
    PROMPT = "prompt"
    RESPONSE = "response"
    DIALOGUE = "dialogue"


class Keep(StrEnum):
    FIRST = "first"
    BEST = "best"


@reads
def dedupe(
    file: File,
    output: Output,
    by: Annotated[
        By,
        typer.Option(
            help="What is compared: prompts (of conversations: all but the assistant's turns), responses (of judged ones the"
            " best), or both."
        ),
    ] = By.DIALOGUE,
    threshold: Annotated[
        float,
        typer.Option(
            help="Share of three-word runs in common (Jaccard, above 0 up to 1) from which two texts are nearly the same; 1: only"
            " the same words."
        ),
    ] = NEAR,
    within: Annotated[
        bool,
        typer.Option("--within", help="Rows of one conversation may be near-duplicates of each other, too."),
    ] = False,
    keep: Annotated[Keep, typer.Option(help="Which of several rows stays.")] = Keep.FIRST,
    score: Annotated[
        str | None,
        typer.Option(help="With --keep best: the column that says how good. Default: grade, else score."),
    ] = None,
    dropped: Dropped = False,
    overwrite: Overwrite = False,
    *,
    reading: Reading,
) -> None:
    """Leave out rows that are the same as another, or nearly. Rows are streamed; memory grows by some 60 bytes a row.

    halign data dedupe pairs.jsonl once.jsonl
    """
    from halign.curation.dedupe import dedupe as leave_out
    from halign.curation.source import check_output
    from halign.errors import HalignError

    if score is not None and keep is Keep.FIRST:
        raise HalignError("--score has no effect without --keep best")
    check_output(output, overwrite, file)
    source = reading.source(file)
    outcome, found = leave_out(
        source,
        output,
        by=by.value,
        threshold=threshold,
        within=within,
        best=keep is Keep.BEST,
        score=score,
        dropped=dropped,
        watch=Pace(),
    )
    console = Console()
    print_outcome(console, file, output, outcome, source.skipped, dropped)
    clusters = found.clusters
    if clusters:
        rows = [("rows that others are like", f"{len(clusters):,}")]
        rows += [(f"like row {number}", f"{n:,}") for number, n in clusters.most_common(5)]
        views.print_table(console, "clusters", rows)
