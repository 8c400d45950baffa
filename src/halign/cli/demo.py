"""``halign demo``: the whole of Halign in some minutes, on two cores, from nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halign.cli.opening import Open


def demo(
    output: Annotated[Path, typer.Option(help="Folder for report, results and models.")] = Path(
        "halign-demo"
    ),
    seed: Annotated[
        int, typer.Option(help="Other conversations, other customers, another order.", min=0)
    ] = 0,
    workers: Annotated[
        int | None, typer.Option(help="Processes at a time. Default: one per core.", min=0)
    ] = None,
    open_: Open = None,
) -> None:
    """Pretrain a small model, fine-tune and align it six ways, and compare them on held-out customers.

    Needs no download and no GPU. Everything is cached: a second call only opens the report's folder.

    halign demo --output halign-demo
    """
    from halign.cli.run import run_recipe
    from halign.recipes.run import find, resolve

    words = [f"seed={seed}"] if seed else []
    run_recipe(
        find("flow1"), resolve("flow1", "demo", {"seed": seed}), output, words, "demo", workers, False, open_
    )
