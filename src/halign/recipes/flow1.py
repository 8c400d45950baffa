"""Flow 1 of seed 000 (arXiv 2406.18954): fine-tuning, alignment, and both, compared on held-out prompts.

    data ──┬── M1SFT ──┬── M1SFT+ipo
           │           └── M1SFT+kto
    base ──┼── M2SFT                     every model ── answers ── grades ── report
           ├── Mipo
           └── Mkto

SFT imitates the good replies; IPO and KTO-pair learn from good and broken replies of the same conversations.
Learning rates come from the validation split (``tune``); the test split is looked at once, at the end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from halign.errors import HalignError
from halign.recipes.engine import Outcome
from halign.recipes.recipe import Finished, Recipe
from halign.recipes.stages import Stage, Store

BASE = "base"

LABELS = {
    "sft": "imitates good replies",
    "ipo": "prefers good replies over broken ones (IPO)",
    "kto_pair": "prefers good replies over broken ones (KTO, paired)",
    "dpo": "prefers good replies over broken ones (DPO)",
}


@dataclass(frozen=True)
class Graph:
    """The stages of one flow.

    Attributes:
        arms: model name -> the stage that makes it; the base first.
        answers: model name -> its replies to the prompts.
        grades: all replies, graded: the end of the flow.
        histories: kinds of prompts.
    """

    data: Stage
    arms: dict[str, Stage]
    answers: dict[str, Stage]
    grades: Stage
    histories: list[str]
    split: str


def build(settings: Mapping[str, Any], *, split: str = "test") -> Graph:
    """The flow's stages for resolved settings (``flow1.yaml``).

    Args:
        split: whose prompts are answered; tuning asks "validation".
    """
    histories = list(settings["histories"]) if settings["data"] is None else ["given"]
    if settings["data"] is not None and settings["model"] is None:
        raise HalignError("with data of your own, say which model to train: model=FOLDER_OR_HUB_NAME")
    data = data_stage(settings, histories)
    arms = {BASE: base_stage(settings)}
    for name, arm in settings["arms"].items():
        arms[name] = _arm_stage(name, arm, settings, data, arms)
    answers = {}
    for name, stage in arms.items():
        answers[name] = Stage(
            f"answers-{name}" if split == "test" else f"answers-{split}-{name}",
            "halign.recipes.steps:answer",
            settings={
                "split": split,
                "histories": histories,
                "sampling": dict(settings["sampling"]),
                "kl_prompts": settings["kl_prompts"],
            },
            inputs={"model": stage, "base": arms[BASE], "data": data},
            title=f"{name} answers {settings['test_prompts'] * len(histories)} customers",
            why="Held-out prompts that no model has seen; every model gets the same ones.",
            cost=0.025 * settings["test_prompts"] * len(histories) + 5,
        )
    grades = Stage(
        "grades" if split == "test" else f"grades-{split}",
        "halign.recipes.steps:judge",
        settings={
            "split": split,
            "histories": histories,
            "world": settings["world"],
            "world_version": world_version(settings["world"]),
            "judge": settings["judge"],
        },
        inputs={"data": data, **answers},
        title="Grading every reply",
        why="Were all guardrails in force kept? Is the reply natural? Is every stated fact supported?",
        cost=15,
    )
    return Graph(data, arms, answers, grades, histories, split)


def base_stage(settings: Mapping[str, Any]) -> Stage:
    """What training starts from: the world's base model, or the user's."""
    own = settings["model"]
    return Stage(
        "base",
        "halign.recipes.steps:base",
        settings={
            "world": settings["world"] if own is None else None,
            "world_version": world_version(settings["world"]) if own is None else None,
            "model": own,
            "settings": dict(settings["base"]) if own is None else {},
        },
        title="Fetching the base model" if own else "Pretraining the base model",
        why="A small language model reads conversations of careful and careless agents. It is cached.",
        cost=1 if own else 200,
    )


def data_stage(settings: Mapping[str, Any], histories: list[str]) -> Stage:
    """Conversations to train on, and prompts to be asked."""
    file = settings["data"]
    return Stage(
        "data",
        "halign.recipes.steps:data",
        settings={
            "world": settings["world"] if file is None else None,
            "world_version": world_version(settings["world"]) if file is None else None,
            "file": file,
            "fingerprint": None if file is None else _fingerprint(Path(file)),
            "seed": settings["seed"],
            "conversations": settings["conversations"],
            "validation": settings["validation_conversations"],
            "prompts": settings["test_prompts"],
            "histories": histories,
        },
        title="Writing the conversations",
        why="Each agent turn comes with a reply that breaks one guardrail; test customers are set apart.",
        cost=5,
    )


def _arm_stage(
    name: str, arm: Mapping[str, Any], settings: Mapping[str, Any], data: Stage, arms: Mapping[str, Stage]
) -> Stage:
    own = dict(arm)
    start, objective = own.pop("from"), own.pop("objective")
    if start not in arms:
        raise HalignError(f"arms.{name}.from: {start!r} is not an earlier model; there is {', '.join(arms)}")
    is_sft = objective == "sft"
    count = settings["sft_conversations"] if is_sft else None
    epochs = float(own.get("epochs", 1))
    return Stage(
        name,
        "halign.recipes.steps:train",
        settings={
            "objective": objective,
            "conversations": count,
            "settings": {"seed": settings["seed"], **settings["training"], **own},
        },
        inputs={"model": arms[start], "data": data},
        title=f"Training {name} from {'the base' if start == BASE else start}",
        why=f"{name} {LABELS.get(objective, f'is trained by {objective}')}.",
        cost=(0.03 if is_sft else 0.06) * epochs * (count or settings["conversations"]) + 5,
        resumable=True,
    )


def world_version(world: str | None) -> str | None:
    """A hash of a world's source: it makes the conversations, the base model and the grades."""
    if world is None:
        return None
    found = find_spec(f"halign.worlds.{world}")
    if found is None or not found.submodule_search_locations:
        raise HalignError(f"no world {world!r}")
    digest = hashlib.sha256()
    for folder in found.submodule_search_locations:
        for file in sorted(Path(folder).glob("*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _fingerprint(file: Path) -> str:
    if not file.is_file():
        raise HalignError(f"no such file: {file}")
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def commands(
    settings: Mapping[str, Any], overrides: Sequence[str], size: str | None
) -> list[tuple[str, str]]:
    """(what it does, command) that repeat the flow, whole and arm by arm."""
    from shlex import quote

    words = [f"--size {size}" if size else "", *(quote(o) for o in overrides)]
    out = [("Everything in this report", " ".join(["halign run flow1", *words]).strip())]
    out[0] = (out[0][0], " ".join(out[0][1].split()))
    for name, arm in settings["arms"].items():
        own = dict(arm)
        start, objective = own.pop("from"), own.pop("objective")
        given = {"seed": settings["seed"], **settings["training"], **own}
        pairs = " ".join(f"{k}={_word(v)}" for k, v in given.items())
        command = f"halign train {objective} --model runs/{start} --data data/train.jsonl "
        out.append((f"{name} alone, in this report's folder", f"{command}--output NEW/{name} {pairs}"))
    return out


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Job:
    """Flow 1 on some settings: everything in one round."""

    settings: Mapping[str, Any]
    store: Store

    def rounds(self) -> Iterator[Sequence[Stage]]:
        """The grades, and the models."""
        graph = build(self.settings)
        yield [graph.grades, *graph.arms.values()]

    def publish(self, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
        """Report, results, models."""
        from halign.recipes.flow1_report import evidence, publish
        from halign.reporting import render

        graph = build(self.settings)
        found = evidence(self.settings, graph, outcome, overrides, size)
        path = publish(output, self.settings, graph, outcome, found, render(found))
        return Finished(output, path, found, outcome)


def show(console: Console, done: Finished) -> None:
    """What was found, and where it lies."""
    from halign.recipes.flow1_report import summary
    from halign.reporting.words import headline

    table = Table("model", "guardrails kept", "natural", "nothing invented", "all three", "KL", box=None)
    for row in summary(done.evidence):
        table.add_row(*row)
    console.print(table)
    marks = {"good": "[green]+[/]", "bad": "[red]−[/]", "open": "[yellow]?[/]"}
    for statement in headline(done.evidence):
        console.print(f"{marks[statement.tone]} {statement.text}", highlight=False)
    console.print(f"\nReport: {done.report}", highlight=False, soft_wrap=True)
    console.print(f"Models: {done.folder / 'runs'}", highlight=False, soft_wrap=True)


def _tune(settings: Mapping[str, Any], folder: Path, workers: int | None, board: Any) -> None:
    from halign.recipes.tune import tune_to_file

    tune_to_file(settings, folder, workers, board)


RECIPE = Recipe(
    "flow1",
    "fine-tuning, alignment, and both, compared (arXiv 2406.18954)",
    Job,
    show,
    tune=_tune,
)
