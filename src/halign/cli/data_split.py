"""``halign data split``: one file in parts, no conversation in two of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from halign.cli import data_views as views
from halign.cli.data_output import SHOWN_ERRORS
from halign.cli.options import File, Reading, reads
from halign.cli.pace import Pace
from halign.curation.minhash import NEAR
from halign.errors import HalignError


class By(StrEnum):
    CONVERSATION = "conversation"


@reads
def split(
    file: File,
    output: Annotated[
        Path, typer.Option(help="New folder; the parts are PART.jsonl in it.", show_default=False)
    ],
    shares: Annotated[
        str, typer.Option(help="Parts and their shares of the rows; they sum to 1.")
    ] = "train=0.8,feedback=0.1,test=0.1",
    by: Annotated[By, typer.Option(help="What must not stand in two parts.")] = By.CONVERSATION,
    stratify: Annotated[
        str | None, typer.Option(help="Column whose values are spread over the parts alike, e.g. domain.")
    ] = None,
    together: Annotated[
        bool,
        typer.Option("--together", help="Conversations with (nearly) the same prompt go to the same part."),
    ] = False,
    threshold: Annotated[
        float,
        typer.Option(help="With --together: similarity from which prompts are nearly the same, 0 to 1."),
    ] = NEAR,
    seed: Annotated[int, typer.Option(help="For the order in which conversations are dealt out.", min=0)] = 0,
    *,
    reading: Reading,
) -> None:
    """Split a file by conversation. Shares are met to within a conversation; the folder appears whole or not at all.

    halign data split pairs.jsonl --output parts
    """
    from halign.curation.split import split as parted

    if threshold != NEAR and not together:
        raise HalignError("--threshold has no effect without --together")
    source = reading.source(file)
    made = parted(
        source,
        output,
        named_shares(shares),
        seed=seed,
        stratify=stratify,
        together=together,
        threshold=threshold,
        watch=Pace(),
    )
    console, total = Console(), sum(made.rows.values())
    views.list_errors(console, source.skipped, SHOWN_ERRORS)
    rows = []
    for name, n in made.rows.items():
        spread = ", ".join(f"{value} {k:,}" for value, k in made.strata[name].most_common(6))
        said = f"{n:,} rows ({n / total:.1%}) of {made.conversations[name]:,} conversations"
        rows.append((f"{name}.jsonl", f"{said}: {spread}" if spread else said))
    if together:
        rows.append(("kept together by their prompts", f"{made.joined:,} conversations"))
    views.print_table(console, f"{file.name} -> {output}, by {by.value}", rows)


def named_shares(text: str) -> dict[str, float]:
    """``train=.8,test=.2``.

    >>> named_shares("train=.8,test=.2")
    {'train': 0.8, 'test': 0.2}

    Raises:
        HalignError: if it is not of this form, or a part is named twice.
    """
    found: dict[str, float] = {}
    for word in text.split(","):
        name, _, number = word.strip().partition("=")
        try:
            value = float(number)
        except ValueError:
            raise HalignError(f"--shares: {word!r} is not of the form part=share") from None
        if name in found:
            raise HalignError(f"--shares: {name!r} is named twice")
        found[name] = value
    return found
