"""``halign data mix``: several files in one, in given proportions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from halign.cli import data_views as views
from halign.cli.options import Output, Overwrite, Reading, reads
from halign.cli.pace import Pace
from halign.errors import HalignError


@reads
def mix(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE[=WEIGHT]...",
            help="Files of one format, each with its weight; without, its rows count. Without --size and --sizes: FILE=ROWS.",
            show_default=False,
        ),
    ],
    output: Output,
    size: Annotated[int | None, typer.Option(help="Rows of the mix.", min=1)] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            help="Rows of several mixes, as 100,1000,10000: OUT-100.jsonl ..., each within the next."
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Weights are raised to 1/T: above 1 makes them more alike. Above 0.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="For the draws.", min=0)] = 0,
    repeat: Annotated[
        bool, typer.Option("--repeat", help="Where a file has too few rows, take all of them again.")
    ] = False,
    overwrite: Overwrite = False,
    *,
    reading: Reading,
) -> None:
    """Mix files by weight or by size. Counts are exact (largest remainder), rows are drawn without replacement, and the files are
    evenly interleaved; the same seed gives the same file.

    halign data mix ours.jsonl=3 theirs.jsonl=1 mixed.jsonl
    """
    from halign.curation import mix as mixing
    from halign.curation.source import check_output

    if size is not None and sizes is not None:
        raise HalignError("--size and --sizes: give one of them")
    wanted = [size] if size is not None else _numbers(sizes)
    named = [_named(text) for text in sources]
    if not wanted and temperature != 1.0:
        raise HalignError("--temperature has no effect without --size or --sizes: counts are given")
    counts = None if wanted else [_whole(file, number) for file, number in named]
    files = [Path(file) for file, _ in named]
    for n in wanted or [0]:
        check_output(mixing.sized(output, n, len(set(wanted)) > 1), overwrite, *files)
    made = mixing.mix(
        [reading.source(f) for f in files],
        output,
        weights=[w for _, w in named] if wanted else [None] * len(named),
        counts=counts,
        sizes=wanted,
        temperature=temperature,
        seed=seed,
        repeat=repeat,
        watch=Pace(),
    )
    console = Console()
    for one in made:
        rows = [
            (f.name, f"{n:,} of {there:,} rows ({n / one.size:.1%} of the mix)")
            for f, n, there in zip(files, one.counts, one.available, strict=True)
        ]
        views.print_table(console, f"{one.output}: {one.size:,} rows", rows)
    if made[0].shared:
        views.note(
            console,
            f"{made[0].shared:,} conversations have the same name in more than one file, and count as the same one there",
        )


def _named(text: str) -> tuple[str, float | None]:
    """``FILE=WEIGHT`` or ``FILE``.

    >>> _named("a.jsonl=0.7"), _named("a=b.jsonl")
    (('a.jsonl', 0.7), ('a=b.jsonl', None))
    """
    file, sign, number = text.rpartition("=")
    try:
        return (file, float(number)) if sign else (text, None)
    except ValueError:
        return text, None


def _whole(file: str, number: float | None) -> int:
    if number is None or number != int(number) or number < 0:
        raise HalignError(f"{file}: say how many rows of it, as {file}=1000, or how many in all with --size")
    return int(number)


def _numbers(text: str | None) -> list[int]:
    """``100,1000``.

    Raises:
        HalignError: if it is no list of whole numbers above 0.
    """
    try:
        found = [int(word) for word in (text or "").split(",") if word.strip()]
    except ValueError:
        found = [0]
    if any(n < 1 for n in found):
        raise HalignError(f"--sizes {text}: expected whole numbers above 0, as 100,1000,10000")
    return found
