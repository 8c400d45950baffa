"""Chooses each arm's learning rate on the validation split, never on the test split.

Every arm is trained at every rate of a small grid around its own and answers the validation prompts. The
rate with the largest share of replies right on all dimensions at once wins. Arms that start from a tuned arm
come after it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from halign.evaluate import ALL, Reply, score
from halign.recipes.display import Board
from halign.recipes.engine import run
from halign.recipes.flow1 import BASE, Graph, build
from halign.recipes.stages import Stage, Store
from halign.recipes.steps import read_rows


@dataclass(frozen=True)
class Trial:
    """One arm at one learning rate, on the validation prompts."""

    arm: str
    learning_rate: float
    shares: dict[str, float]
    kl: float
    chosen: bool = False


def tune(
    settings: Mapping[str, Any], store: Store, *, workers: int | None = None, board: Board | None = None
) -> tuple[dict[str, Any], list[Trial]]:
    """The settings with the chosen learning rates, and everything that was tried."""
    current: dict[str, Any] = copy.deepcopy(dict(settings))
    trials: list[Trial] = []
    for names in rounds(settings["arms"]):
        tried = _round(current, names, store, workers, board)
        for name in names:
            mine = [t for t in tried if t.arm == name]
            best = max(mine, key=lambda t: t.shares[ALL])
            current["arms"][name]["learning_rate"] = best.learning_rate
            trials += [replace(t, chosen=t is best) for t in mine]
    return current, trials


def rounds(arms: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Arms by how many trained arms stand between them and the base.

    >>> rounds({"a": {"from": "base"}, "b": {"from": "a"}, "c": {"from": "base"}})
    [['a', 'c'], ['b']]
    """
    depth = {BASE: 0}
    for name, arm in arms.items():
        depth[name] = depth[arm["from"]] + 1
    return [[n for n in arms if depth[n] == d] for d in range(1, max(depth.values()) + 1)]


def grid(rate: float, factors: list[float]) -> list[float]:
    """Learning rates around one, to two figures.

    >>> grid(3e-5, [0.33, 1.0, 3.0])
    [9.9e-06, 3e-05, 9e-05]
    """
    return [float(f"{rate * f:.2g}") for f in factors]


def _round(
    settings: Mapping[str, Any], names: list[str], store: Store, workers: int | None, board: Board | None
) -> list[Trial]:
    """Train and grade the arms ``names`` at every rate of their grids."""
    wide = copy.deepcopy(dict(settings))
    rates: dict[str, tuple[str, float]] = {}
    for name in names:
        arm = wide["arms"].pop(name)
        for rate in grid(arm["learning_rate"], settings["tune"]["factors"]):
            rates[f"{name}@{rate:g}"] = (name, rate)
            wide["arms"][f"{name}@{rate:g}"] = {**arm, "learning_rate": rate}
    starts = {arm["from"] for arm in wide["arms"].values()} - {BASE}
    wide["arms"] = {n: a for n, a in wide["arms"].items() if n in rates or n in starts}
    wide["arms"] = dict(sorted(wide["arms"].items(), key=lambda item: item[0] in rates))
    graph = _limited(build(wide, split="validation"), settings["tune"]["prompts"])
    run([graph.grades], store, workers=workers, board=board)
    folder = store.folder(graph.grades)
    trials = []
    for label, (name, rate) in rates.items():
        replies = [Reply.of(row) for h in graph.histories for row in read_rows(folder / label / f"{h}.jsonl")]
        s = score(replies)
        shares = {m: i.value for m, i in s.shares.items()}
        trials.append(Trial(name, rate, shares, s.kl.value if s.kl else 0.0))
    return trials


def _limited(graph: Graph, prompts: int) -> Graph:
    """The same graph, asking fewer prompts."""

    def limited(stage: Stage, inputs: Mapping[str, Stage]) -> Stage:
        return replace(stage, settings={**stage.settings, "limit": prompts}, inputs=inputs)

    answers = {n: limited(s, s.inputs) for n, s in graph.answers.items()}
    grades = limited(graph.grades, {"data": graph.data, **answers})
    return replace(graph, answers=answers, grades=grades)


def tune_to_file(settings: Mapping[str, Any], folder: Path, workers: int | None, board: Board | None) -> None:
    """Choose learning rates and write them, with everything that was tried, to ``tuned.yaml``."""
    from halign.recipes.run import store

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
