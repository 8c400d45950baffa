"""``halign run NAME``: a whole pipeline from data to report, or a loop that samples as it learns."""

from __future__ import annotations

import difflib
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from halign.cli.opening import Open, open_page
from halign.errors import HalignError
from halign.setting_words import parse_overrides

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from halign.recipes.recipe import Recipe


def show_help(context: typer.Context) -> None:
    """The usual help, and what there is to run, a line each."""
    from halign import loops
    from halign.recipes import run as recipes

    console = Console()
    console.print(context.get_help())
    for title, found in (
        (
            "Recipes: models made, compared and reported",
            [(n, recipes.find(n).about) for n in recipes.names()],
        ),
        ("Loops: one model trained on its own samples", [(n, loops.find(n).about) for n in loops.names()]),
    ):
        table = Table(title=title, title_justify="left", show_header=False)
        for row in found:
            table.add_row(*row)
        console.print(table)
    console.print(
        "halign run NAME --help lists the settings of one. Where a recipe and a loop share a name, the recipe is meant, unless "
        "--loop says otherwise."
    )


def show_settings(console: Console, name: str, *, loop: bool = False) -> None:
    """The settings of a recipe, as its YAML has them, or of a loop."""
    from halign import loops
    from halign.cli.loop import show_settings as show_loop
    from halign.recipes.settings import source

    if is_loop(name, loop):
        show_loop(console, loops.find(name))
        return
    for file in source(name):
        console.print(
            files("halign.recipes").joinpath(file).read_text(), markup=False, highlight=False, soft_wrap=True
        )


def is_loop(name: str, forced: bool = False) -> bool:
    """True if a name stands for a loop: it is no recipe's, or the loop is insisted on.

    Raises:
        HalignError: if it is neither's.
    """
    from halign import loops
    from halign.recipes import run as recipes

    if name in loops.names() and (forced or name not in recipes.names()):
        return True
    if forced or name not in recipes.names():
        there = loops.names() if forced else list(dict.fromkeys([*recipes.names(), *loops.names()]))
        near = difflib.get_close_matches(name, there, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(there)}"
        raise HalignError(f"no {'loop' if forced else 'recipe or loop'} {name!r}; {hint}")
    return False


def run(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Which recipe or loop: see below.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings; dots nest: arms.Mipo.beta=0.2."),
    ] = None,
    size: Annotated[
        str, typer.Option(help="Of a recipe; demo: for two cores; full: more of everything; tiny: a trial.")
    ] = "demo",
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for report, results and models. Default: RECIPE-SIZE, or LOOP."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML with settings, such as a tuned.yaml.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Stages at a time, each in a process of its own; 0: all in this one.", min=0),
    ] = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Of a recipe: choose learning rates on the validation split; writes tuned.yaml.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Of a recipe: show the stages and which are cached.")
    ] = False,
    loop: Annotated[bool, typer.Option("--loop", help="The loop of that name, not the recipe.")] = False,
    overwrite: Annotated[
        bool, typer.Option(help="Of a loop: start anew even if there is a run in the folder.")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="Show the result only.")] = False,
    open_: Open = None,
    help_: Annotated[bool, typer.Option("--help", help="Show this; after NAME, its settings.")] = False,
) -> None:
    """Run a recipe (a whole pipeline) or a loop. What is finished is not done again; an interrupted run goes on where it stopped.

    halign run flow1 --size demo

    halign run instructgpt model=Qwen/Qwen3-0.6B data=conversations.jsonl world=null judge=my.module:assess

    halign run guardrails --policy policy.md --conversations chats.jsonl --model Qwen/Qwen3-0.6B

    halign run grpo model=Qwen/Qwen3-0.6B data=prompts.jsonl reward=runs/rm --output runs/grpo
    """
    from halign.recipes import run as recipes
    from halign.recipes.display import RichBoard, SilentBoard

    if help_:
        show_help(context) if name is None else show_settings(Console(), name, loop=loop)
        return
    if name is None:
        raise HalignError("say what to run: `halign run --help` lists recipes and loops")
    looping = is_loop(name, loop)
    own = {} if looping else recipes.find(name).options
    words = settings_of(settings or (), own, options_of(context))
    if looping:
        from halign.cli.loop import run_loop

        run_loop(name, words, output, config, overwrite, quiet)
        return
    found = recipes.find(name)
    if tune and found.tune is None:
        raise HalignError(f"--tune has no meaning for {name}: {found.no_tune}")
    resolved = recipes.resolve(name, size, parse_overrides(words), config)
    folder = output or Path(f"{name}-{size}")
    if dry_run:
        show_plan(found, resolved)
    elif tune and found.tune is not None:
        found.tune(resolved, folder, workers, SilentBoard() if quiet else RichBoard())
    else:
        run_recipe(found, resolved, folder, words, size, workers, quiet, open_)


def options_of(context: typer.Context) -> list[str]:
    """The options of this command, as they are written."""
    return [o for p in context.command.params for o in p.opts if o.startswith("--")]


def settings_of(words: Sequence[str], options: Mapping[str, str], known: Sequence[str] = ()) -> list[str]:
    """The words as settings: an option of the recipe's and its value become ``key=value``.

    >>> settings_of(["--policy", "p.md", "seed=1", "--llm=http://x"], {"--policy": "policy", "--llm": "llm.url"})
    ['policy=p.md', 'seed=1', 'llm.url=http://x']

    Args:
        known: options of the command itself, for hints.

    Raises:
        HalignError: an option that there is not, or one without a value.
    """
    out, waiting = [], iter(words)
    for word in waiting:
        if not word.startswith("-"):
            out.append(word)
            continue
        option, equals, value = word.partition("=")
        if option not in options:
            near = difflib.get_close_matches(option, [*options, *known], 1)
            hint = f"did you mean {near[0]}?" if near else "settings are written key=value"
            raise HalignError(f"no option {option}; {hint}")
        given = value if equals else next(waiting, None)
        if given is None or (not equals and given.startswith("--")):
            raise HalignError(f"{option} needs a value")
        out.append(f"{options[option]}={given}")
    return out


def run_recipe(
    recipe: Recipe,
    settings: dict[str, Any],
    folder: Path,
    words: list[str],
    size: str,
    workers: int | None,
    quiet: bool,
    open_: bool | None,
) -> None:
    """Run a recipe, then say what was found and where it lies, and open the report."""
    from halign.recipes.display import RichBoard, SilentBoard
    from halign.recipes.run import execute

    board = SilentBoard() if quiet else RichBoard()
    done = execute(recipe.name, settings, folder, overrides=words, size=size, workers=workers, board=board)
    recipe.show(Console(), done)
    open_page(done.report, open_)


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
