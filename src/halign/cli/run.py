"""``halign run RECIPE``: a whole pipeline, from data to report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from halign.config import parse_overrides
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.recipes.recipe import Recipe

Output = Annotated[
    Path | None, typer.Option(help="Folder for report, results and models. Default: RECIPE-SIZE.")
]


def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Which pipeline: flow1, or field.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings; dots nest: arms.Mipo.beta=0.2."),
    ] = None,
    size: Annotated[str, typer.Option(help="demo: for two cores; full: more of everything.")] = "demo",
    output: Output = None,
    config: Annotated[Path | None, typer.Option(help="YAML with settings, such as a tuned.yaml.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Stages at a time, each in a process of its own; 0: all in this one.", min=0),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune", help="flow1: choose learning rates on the validation split; writes tuned.yaml."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the stages and which are cached.")] = False,
    quiet: Annotated[bool, typer.Option(help="Show the result only.")] = False,
) -> None:
    """Run a whole pipeline. Finished stages are not run again; an interrupted run goes on where it stopped.

    halign run flow1 --size demo

    halign run field --size demo

    halign run flow1 model=Qwen/Qwen3-0.6B data=conversations.jsonl world=null judge=my.module:assess
    """
    from halign.recipes import run as recipes
    from halign.recipes.display import RichBoard, SilentBoard

    found = recipes.find(recipe)
    if tune and found.tune is None:
        raise HalignError(f"--tune has no meaning for {recipe}: {found.no_tune}")
    words = list(settings or [])
    resolved = recipes.resolve(recipe, size, parse_overrides(words), config)
    folder = output or Path(f"{recipe}-{size}")
    if dry_run:
        show_plan(found, resolved)
    elif tune and found.tune is not None:
        found.tune(resolved, folder, workers, SilentBoard() if quiet else RichBoard())
    else:
        run_recipe(found, resolved, folder, words, size, workers, quiet)


def run_recipe(
    recipe: Recipe,
    settings: dict[str, Any],
    folder: Path,
    words: list[str],
    size: str,
    workers: int | None,
    quiet: bool,
) -> None:
    """Run a recipe, then say what was found and where it lies."""
    from halign.recipes.display import RichBoard, SilentBoard
    from halign.recipes.run import execute

    board = SilentBoard() if quiet else RichBoard()
    done = execute(recipe.name, settings, folder, overrides=words, size=size, workers=workers, board=board)
    recipe.show(Console(), done)


def show_plan(recipe: Recipe, settings: dict[str, Any]) -> None:
    """The stages, and which are there already."""
    from halign.recipes.run import plan

    stages = plan(recipe.name, settings)
    table = Table("stage", "what", "state", box=None)
    for stage, state in stages:
        table.add_row(stage.name, stage.title, state)
    console = Console()
    console.print(table)
    if recipe.later and any(state == "to do" for _, state in stages):
        console.print(recipe.later, soft_wrap=True)
