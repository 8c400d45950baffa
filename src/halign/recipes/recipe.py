"""What a recipe is: a YAML file of settings, and a module of the same name with a ``RECIPE``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from halign.recipes.engine import Outcome
from halign.recipes.stages import Stage, Store

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Finished:
    """A finished recipe.

    Attributes:
        folder: where its report and results lie.
        evidence: what it found.
        outcome: which stages were done now, where their results are.
    """

    folder: Path
    report: Path
    evidence: Any
    outcome: Outcome


class Job(Protocol):
    """A recipe at work on some settings."""

    def rounds(self) -> Iterator[Sequence[Stage]]:
        """The stages whose results are wanted, round by round: the engine makes one round before the next is
        asked for, so that a later one may depend on what an earlier one found.
        """
        ...

    def publish(self, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
        """Fill the output folder from the results of all rounds."""
        ...


@dataclass(frozen=True)
class Recipe:
    """A whole pipeline, by name.

    Attributes:
        about: one line for ``halign run --help``.
        job: (resolved settings, where results lie) -> the job.
        show: prints what was found.
        tune: what ``--tune`` does, (settings, output folder, workers, board) -> None; None where it has no
            meaning.
        no_tune: why ``tune`` is None.
        options: option of the command line -> the setting that it stands for, where a setting has one.
        later: what follows that depends on what earlier stages find; "" if nothing does.
    """

    name: str
    about: str
    job: Callable[[Settings, Store], Job]
    show: Callable[[Console, Finished], None]
    tune: Callable[[Settings, Path, int | None, Any], None] | None = None
    no_tune: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    later: str = ""
