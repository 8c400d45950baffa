"""``halign run RECIPE``: a whole pipeline, from data to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from halign.config import parse_overrides
from halign.errors import HalignError

Output = Annotated[
    Path | None, typer.Option(help="Folder for report, results and models. Default: RECIPE-SIZE.")
]


def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Which pipeline: flow1.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings; dots nest: arms.Mipo.beta=0.2."),
    ] = None,
    size: Annotated[
        str, typer.Option(help="demo: some minutes on two cores; full: more of everything.")
    ] = "demo",
    output: Output = None,
    config: Annotated[Path | None, typer.Option(help="YAML with settings, such as a tuned.yaml.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Stages at a time, each in a process of its own; 0: all in this one.", min=0),
    ] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Choose learning rates on the validation split; writes tuned.yaml.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the stages and which are cached.")] = False,
    quiet: Annotated[bool, typer.Option(help="Show the result only.")] = False,
) -> None:
    """Run a whole pipeline. Finished stages are not run again; an interrupted run goes on where it stopped.

    halign run flow1 --size demo

    halign run flow1 model=Qwen/Qwen3-0.6B data=conversations.jsonl world=null judge=my.module:assess
    """
    from halign.recipes import run as recipes

    if recipe not in recipes.RECIPES:
        raise HalignError(f"no recipe {recipe!r}; there is {', '.join(recipes.RECIPES)}")
    words = list(settings or [])
    resolved = recipes.resolve(recipe, size, parse_overrides(words), config)
    folder = output or Path(f"{recipe}-{size}")
    if dry_run:
        show_plan(resolved)
    elif tune:
        run_tuning(resolved, folder, workers, quiet)
    else:
        run_flow(resolved, folder, words, size, workers, quiet)


def run_flow(
    settings: dict[str, Any], folder: Path, words: list[str], size: str, workers: int | None, quiet: bool
) -> None:
    """Run Flow 1, then say what was found and where it lies."""
    from halign.recipes.display import RichBoard, SilentBoard
    from halign.recipes.flow1_report import summary
    from halign.recipes.run import flow1
    from halign.reporting.words import headline

    board = SilentBoard() if quiet else RichBoard()
    done = flow1(settings, folder, overrides=words, size=size, workers=workers, board=board)
    console = Console()
    table = Table("model", "guardrails kept", "natural", "nothing invented", "all three", "KL", box=None)
    for row in summary(done.evidence):
        table.add_row(*row)
    console.print(table)
    marks = {"good": "[green]+[/]", "bad": "[red]−[/]", "open": "[yellow]?[/]"}
    for statement in headline(done.evidence):
        console.print(f"{marks[statement.tone]} {statement.text}", highlight=False)
    console.print(f"\nReport: {done.report}", highlight=False, soft_wrap=True)
    console.print(f"Models: {folder / 'runs'}", highlight=False, soft_wrap=True)


def show_plan(settings: dict[str, Any]) -> None:
    """The stages, and which are there already."""
    from halign.recipes.run import plan

    table = Table("stage", "what", "state", box=None)
    for stage, state in plan(settings):
        table.add_row(stage.name, stage.title, state)
    Console().print(table)


def run_tuning(settings: dict[str, Any], folder: Path, workers: int | None, quiet: bool) -> None:
    """Choose learning rates and write them, with everything that was tried, to ``tuned.yaml``."""
    import yaml

    from halign.evaluate import ALL
    from halign.recipes.display import RichBoard, SilentBoard
    from halign.recipes.run import store
    from halign.recipes.tune import tune

    board = SilentBoard() if quiet else RichBoard()
    tuned, trials = tune(settings, store(), workers=workers, board=board)
    table = Table(
        "arm", "learning rate", "guardrails kept", "natural", "nothing invented", "all three", "KL", box=None
    )
    lines = ["# Learning rates chosen on the validation split by the share right on all three dimensions:"]
    for t in trials:
        shares = [f"{100 * v:.1f}" for v in t.shares.values()]
        mark = " *" if t.chosen else ""
        table.add_row(t.arm, f"{t.learning_rate:g}{mark}", *shares, f"{t.kl:.2f}")
        lines.append(f"# {t.arm} {t.learning_rate:g}: {100 * t.shares[ALL]:.1f} %, KL {t.kl:.2f}{mark}")
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {name: {"learning_rate": arm["learning_rate"]} for name, arm in tuned["arms"].items()}
    target = folder / "tuned.yaml"
    target.write_text("\n".join(lines) + "\n" + yaml.safe_dump({"arms": chosen}, sort_keys=False))
    console = Console()
    console.print(table)
    console.print(f"\nUse it with: halign run flow1 --config {target}", highlight=False, soft_wrap=True)
