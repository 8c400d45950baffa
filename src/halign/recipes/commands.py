"""The commands that repeat a table, whole and model by model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any

import yaml

from halign.recipes.arms import JUDGE, REWARD, Arm
from halign.recipes.origins import BASE
from halign.recipes.table import Graph


def commands(
    name: str, settings: Mapping[str, Any], graph: Graph, overrides: Sequence[str], size: str | None
) -> list[tuple[str, str]]:
    """(what it does, command). Models that learn from a part of a file have no command of their own."""
    words = ["halign run", name, *(["--size", size] if size else []), *map(quote, overrides)]
    out = [("Everything in this report", " ".join(words))]
    whole = [
        a
        for a in graph.arms.values()
        if a.way != "prompt" and a.conversations is None and not a.skip and len(a.parts) == 1
    ]
    return [*out, *((f"{a.name} alone, in this report's folder", _alone(a, settings, graph)) for a in whole)]


def _alone(arm: Arm, settings: Mapping[str, Any], graph: Graph) -> str:
    model = settings["model"] if arm.start == BASE and settings["model"] else f"runs/{arm.start}"
    data = f"data/{arm.parts[0]}.jsonl" if arm.of_conversations else f"samples/{arm.data}/train.jsonl"
    given = " ".join(f"{k}={word(v)}" for k, v in arm.settings.items())
    if arm.way == "objective":
        return f"halign train {arm.by} --model {model} --data {data} --output NEW/{arm.name} {given}"
    reward = settings["reward"] or JUDGE if arm.reward in (None, REWARD) else arm.reward
    if isinstance(reward, str) and reward in graph.arms:
        reward = f"runs/{reward}"
    elif reward == JUDGE:
        reward = settings["judge"] or settings["world"]
    words = [f"model={model}", f"data={data}", f"reward={word(reward)}"]
    words += [] if arm.preferences is None else [f"preferences={word(arm.preferences)}"]
    return f"halign run {arm.by} --output NEW/{arm.name} {' '.join(words)} {given}"


def word(value: Any) -> str:
    """A setting's value as it stands on a command line.

    >>> word(True), word([0, 1]), word({"epochs": 2}), word(2e-5)
    ('true', "'[0, 1]'", "'{epochs: 2}'", '2e-05')
    """
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return quote(str(value))
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return quote(text.removesuffix("\n...\n").strip())
