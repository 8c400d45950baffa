"""Runs a recipe from settings to report: what ``halign run`` and ``halign demo`` do."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from halign.cache import cache_dir
from halign.errors import HalignError
from halign.recipes import settings as recipe_settings
from halign.recipes import table
from halign.recipes.display import Board
from halign.recipes.engine import Outcome, needed, run
from halign.recipes.recipe import Finished, Recipe
from halign.recipes.settings import names
from halign.recipes.stages import Stage, Store, in_order


def find(name: str) -> Recipe:
    """The recipe of that name: a module's beside its YAML, else a table of models.

    Raises:
        HalignError: if there is none.
    """
    if name not in names():
        raise HalignError(f"no recipe {name!r}; there is {', '.join(names())}")
    if files("halign.recipes").joinpath(f"{name}.py").is_file():
        found: Recipe = importlib.import_module(f"halign.recipes.{name}").RECIPE
        return found
    return table.recipe(name)


def store() -> Store:
    """Where the results of stages are kept."""
    return Store(cache_dir("stages"))


def execute(
    name: str,
    settings: Mapping[str, Any],
    output: Path,
    *,
    overrides: Sequence[str] = (),
    size: str | None = None,
    workers: int | None = None,
    board: Board | None = None,
) -> Finished:
    """Run a recipe to its report. What is cached is not done again; the report is written anew."""
    kept = store()
    job = find(name).job(settings, kept)
    total = Outcome({}, {}, [])
    for wanted in job.rounds():
        done = run(wanted, kept, workers=workers, board=board)
        total = Outcome(
            {**total.folders, **done.folders}, {**total.seconds, **done.seconds}, [*total.made, *done.made]
        )
    return job.publish(output, total, overrides, size)


def plan(name: str, settings: Mapping[str, Any]) -> list[tuple[Stage, str]]:
    """(stage, state) of what a run would do: "there already", "to do", or "not needed".

    Rounds that depend on what is still to do (``Recipe.later``) cannot be known yet.
    """
    kept = store()
    shown: dict[str, tuple[Stage, str]] = {}
    for wanted in find(name).job(settings, kept).rounds():
        stages = in_order(wanted)
        todo = {s.name for s in needed(stages, wanted, kept)}
        for s in stages:
            state = "to do" if s.name in todo else "there already" if kept.done(s) else "not needed"
            shown.setdefault(s.name, (s, state))
        if todo:
            break
    return list(shown.values())


def resolve(
    recipe: str, size: str | None, overrides: Mapping[str, Any], config: Path | None = None
) -> dict[str, Any]:
    """The settings of a recipe, complete."""
    return recipe_settings.load(recipe, size, overrides, config)
