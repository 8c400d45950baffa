"""``halign merge``: adapters into the weights of their base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_OR_ADAPTERS", help="A run folder, or a folder of adapters.")
    ],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    weights: Annotated[str, typer.Option(help="Precision of the weights written: fp32 or bf16.")] = "fp32",
    prompts: Annotated[
        str | None, typer.Option(help="Prompts to compare on too, or any data: its prompts are taken.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Only the first prompts.", min=1)] = 16,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest difference of a token's log-probability, in nats; unset: 0.002, for bf16 or a quantised base 0.25.",
            min=0,
        ),
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(help="4bit or 8bit, if the adapters were trained on such a base.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda ... Default: cpu.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option(help="Run Python code that comes with the model.")
    ] = False,
) -> None:
    """Write a plain model from adapters and their base, and check that it says the same.

    halign merge runs/dpo --output model
    """
    from halign.adapters.merging import merge as run_merge
    from halign.readers import read_prompts

    made = run_merge(
        source,
        output,
        dtype=weights,
        prompts=read_prompts(prompts)[:limit] if prompts else (),
        tolerance=tolerance,
        quantize=quantize,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    typer.echo(
        f"{made.path}: log-probabilities of {made.tokens} tokens agree with the adapters' (mean difference {made.mean:.2g}, "
        f"largest {made.largest:.2g} nats; tolerance {made.tolerance:g})"
    )
