"""Runs a recipe from settings to report: what ``halign run`` and ``halign demo`` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.cache import cache_dir
from halign.recipes import settings as recipe_settings
from halign.recipes.display import Board
from halign.recipes.engine import Outcome, needed, run
from halign.recipes.flow1 import Graph, build
from halign.recipes.stages import Stage, Store, in_order

RECIPES = ("flow1",)


@dataclass(frozen=True)
class Finished:
    """A finished flow: where its report is, what it found, what was done now."""

    report: Path
    evidence: Any
    outcome: Outcome


def store() -> Store:
    """Where the results of stages are kept."""
    return Store(cache_dir("stages"))


def flow1(
    settings: Mapping[str, Any],
    output: Path,
    *,
    overrides: Sequence[str] = (),
    size: str | None = None,
    workers: int | None = None,
    board: Board | None = None,
) -> Finished:
    """Train, answer, grade, report. What is cached is not done again; the report is written anew."""
    from halign.recipes.flow1_report import evidence, publish
    from halign.reporting import render

    graph = build(settings)
    outcome = run([graph.grades, *graph.arms.values()], store(), workers=workers, board=board)
    found = evidence(settings, graph, outcome, overrides, size)
    path = publish(output, settings, graph, outcome, found, render(found))
    return Finished(path, found, outcome)


def plan(settings: Mapping[str, Any]) -> list[tuple[Stage, str]]:
    """(stage, state) of everything a run would do: "there already", "to do", or "not needed"."""
    graph: Graph = build(settings)
    wanted = [graph.grades, *graph.arms.values()]
    stages, kept = in_order(wanted), store()
    todo = {s.name for s in needed(stages, wanted, kept)}
    return [
        (s, "to do" if s.name in todo else "there already" if kept.done(s) else "not needed") for s in stages
    ]


def resolve(
    recipe: str, size: str | None, overrides: Mapping[str, Any], config: Path | None = None
) -> dict[str, Any]:
    """The settings of a recipe, complete."""
    return recipe_settings.load(recipe, size, overrides, config)
