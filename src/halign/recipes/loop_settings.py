"""A loop's settings as they are written in a recipe or on a command line.

A loop of rounds keeps the settings of its rounds' training in one mapping, ``train``. Here they may also stand beside its own:

>>> loop_settings("raft", {"rounds": 2, "learning_rate": 1e-4}, {"seed": 3, "dtype": "bf16"})
{'seed': 3, 'rounds': 2, 'train': {'dtype': 'bf16', 'learning_rate': 0.0001}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.loops import find
from halign.train_settings import TrainSettings


def loop_settings(
    name: str, given: Mapping[str, Any], shared: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Settings of a loop in their places; what the loop does not know stays at the top, where it is told.

    Args:
        given: the loop's own, and those of its training.
        shared: training settings that hold unless ``given`` says otherwise, as far as the loop means the same by them.

    Raises:
        HalignError: if there is no such loop.
    """
    fields = find(name).settings.model_fields
    shared = shared or {}
    known = TrainSettings.model_fields
    alike = {k for k, f in fields.items() if k in known and f.annotation == known[k].annotation}
    found = {k: v for k, v in shared.items() if k in alike}
    if "train" not in fields:
        return {**found, **given}
    objective = given.get("objective", fields["objective"].default)
    of_training = _training_keys(objective) - fields.keys()
    train = {k: v for k, v in shared.items() if k in of_training}
    train |= {k: v for k, v in given.items() if k in of_training} | dict(given.get("train") or {})
    found |= {k: v for k, v in given.items() if k not in of_training and k != "train"}
    return {**found, "train": train} if train else found


def _training_keys(objective: str) -> set[str]:
    """Names of training's settings and of the objective's."""
    from halign.config import parse_objective
    from halign.objectives import registry

    mixture = parse_objective(objective)
    own = {key for part in mixture for key in registry.find(part).settings}
    return {*TrainSettings.model_fields, *mixture, *own}
