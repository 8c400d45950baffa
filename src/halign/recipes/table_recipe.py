"""A recipe that is a YAML file in the table's frame: its job, and what the terminal shows of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from halign.recipes.arms import check_settings
from halign.recipes.engine import Outcome
from halign.recipes.recipe import Finished, Recipe
from halign.recipes.settings import layers
from halign.recipes.stages import Stage, Store
from halign.recipes.table import build


class Job:
    """A table on some settings: everything in one round."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        self.name, self.settings = name, settings
        self.graph = build(settings)
        check_settings(list(self.graph.arms.values()))

    def rounds(self) -> Iterator[Sequence[Stage]]:
        """The grades, and the models."""
        yield self.graph.wanted

    def publish(self, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
        """Report, results, models."""
        from halign.recipes.table_report import find_out, publish

        found = find_out(self.name, self.settings, self.graph, outcome, overrides, size)
        return Finished(output, publish(output, self.settings, self.graph, outcome, found), found, outcome)


def show(console: Console, done: Finished) -> None:
    """What was found, and where it lies."""
    from halign.recipes.table_report import summary

    show_findings(console, done, *summary(done.evidence))


def show_findings(
    console: Console, done: Finished, columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """A table, the headline of the report, and where report and models lie."""
    from halign.reporting.words import headline

    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    marks = {"good": "[green]+[/]", "bad": "[red]−[/]", "open": "[yellow]?[/]"}
    for statement in headline(done.evidence.evidence):
        console.print(f"{marks[statement.tone]} {statement.text}", highlight=False)
    console.print(f"\nReport: {done.report}", highlight=False, soft_wrap=True)
    console.print(f"Models: {done.folder / 'runs'}", highlight=False, soft_wrap=True)


def recipe(name: str) -> Recipe:
    """The recipe whose YAML stands in this frame."""

    def tune(settings: Mapping[str, Any], folder: Path, workers: int | None, board: Any) -> None:
        from halign.recipes.tune import tune_to_file

        tune_to_file(name, settings, folder, workers, board)

    def job(settings: Mapping[str, Any], store: Store) -> Job:
        return Job(name, settings)

    return Recipe(name, layers(name)[0]["about"], job, show, tune=tune)
