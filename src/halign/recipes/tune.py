"""Chooses each arm's learning rate on the validation split, never on the test split.

Every arm is trained at every rate of a small grid around its own and answers the validation prompts. The
rate with the largest share of replies right on all dimensions at once wins. Arms that start from, or learn with, a tuned arm
come after it. Reward models, arms without a learning rate, and arms that ``tune.arms`` leaves out stay as they are.
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

from halign.errors import HalignError
from halign.evaluate import ALL, Reply, score
from halign.recipes.arms import Arm, all_arms, behind
from halign.recipes.display import Board
from halign.recipes.engine import run
from halign.recipes.origins import BASE
from halign.recipes.stages import Store
from halign.recipes.steps import read_rows
from halign.recipes.table import build


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
    """The settings with the chosen learning rates, and everything that was tried.

    Raises:
        HalignError: where nobody judges the replies.
    """
    if settings["judge"] is None and settings["world"] is None:
        raise HalignError("--tune compares shares of good replies: set judge= to a judge")
    current: dict[str, Any] = copy.deepcopy(dict(settings))
    trials: list[Trial] = []
    for names in rounds(current):
        tried = _round(current, names, store, workers, board)
        for name in names:
            mine = [t for t in tried if t.arm == name]
            best = max(mine, key=lambda t: t.shares[ALL])
            current["arms"][name]["learning_rate"] = best.learning_rate
            trials += [replace(t, chosen=t is best) for t in mine]
    return current, trials


def needed(settings: Mapping[str, Any], arms: Mapping[str, Arm]) -> dict[str, set[str]]:
    """Arm -> the arms without which it cannot be made: where it starts, its reward model, whose replies it learns from."""
    found: dict[str, set[str]] = {BASE: set()}
    for name, arm in arms.items():
        samples = {} if arm.of_conversations else behind(settings, f"arms.{name}.data", arm.data)
        direct = {arm.start, *samples.values()}
        direct |= {r for r in (arm.reward, arm.preferences) if isinstance(r, str) and r in arms}
        found[name] = direct.union(*(found[d] for d in direct))
    return found


def rounds(settings: Mapping[str, Any]) -> list[list[str]]:
    """Arms that have a learning rate to choose, those first that others need.

    >>> sft = {"from": "base", "objective": "sft", "learning_rate": 1e-4}
    >>> arms = {"a": sft, "b": {**sft, "from": "a"}, "c": sft}
    >>> rounds({"arms": arms, "samples": {}, "seed": 0, "training": {}, "sft_conversations": None, "tune": {"arms": None}})
    [['a', 'c'], ['b']]
    """
    arms = all_arms(settings)
    need = needed(settings, arms)
    tuned = [n for n, a in arms.items() if a.answers and (settings["arms"][n] or {}).get("learning_rate")]
    asked = settings["tune"]["arms"]
    if asked is not None:
        _refuse_unknown(asked, tuned)
        tuned = [n for n in tuned if n in asked]
    depth: dict[str, int] = {}
    for name in tuned:
        depth[name] = 1 + max((depth[n] for n in need[name] if n in depth), default=0)
    return [[n for n in tuned if depth[n] == d] for d in range(1, max(depth.values(), default=0) + 1)]


def _refuse_unknown(asked: list[str], tuned: list[str]) -> None:
    for name in asked:
        if name not in tuned:
            raise HalignError(
                f"tune.arms: {name} has no learning rate to choose; those that have: {', '.join(tuned)}"
            )


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
    need = needed(settings, all_arms(settings))
    wide = copy.deepcopy(dict(settings))
    kept = set().union(*(need[n] for n in names))
    wide["arms"] = {n: a for n, a in wide["arms"].items() if n in kept}
    rates: dict[str, tuple[str, float]] = {}
    for name in names:
        arm = settings["arms"][name]
        for rate in grid(arm["learning_rate"], settings["tune"]["factors"]):
            rates[f"{name}@{rate:g}"] = (name, rate)
            wide["arms"][f"{name}@{rate:g}"] = {**arm, "learning_rate": rate}
    wide |= {"rewards": [], "comparisons": []}
    if wide["reference"] not in {BASE, *wide["arms"]}:
        wide["reference"] = BASE
    graph = build(wide, split="validation", answered=rates, limit=settings["tune"]["prompts"])
    assert graph.grades is not None  # somebody judges
    run([graph.grades], store, workers=workers, board=board)
    folder = store.folder(graph.grades)
    trials = []
    for label, (name, rate) in rates.items():
        replies = [Reply.of(row) for h in graph.histories for row in read_rows(folder / label / f"{h}.jsonl")]
        s = score(replies)
        shares = {m: i.value for m, i in s.shares.items()}
        trials.append(Trial(name, rate, shares, s.kl.value if s.kl else 0.0))
    return trials


def tune_to_file(
    recipe: str, settings: Mapping[str, Any], folder: Path, workers: int | None, board: Board | None
) -> None:
    """Choose learning rates and write them, with everything that was tried, to ``tuned.yaml``."""
    from halign.recipes.run import store

    _, trials = tune(settings, store(), workers=workers, board=board)
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
    chosen = {t.arm: {"learning_rate": t.learning_rate} for t in trials if t.chosen}
    target = folder / "tuned.yaml"
    target.write_text("\n".join(lines) + "\n" + yaml.safe_dump({"arms": chosen}, sort_keys=False))
    console = Console()
    console.print(table)
    console.print(f"\nUse it with: halign run {recipe} --config {target}", highlight=False, soft_wrap=True)
