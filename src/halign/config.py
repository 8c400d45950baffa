"""The configuration of a training run: objectives, their settings, and those of training, checked and complete.

Every setting is a YAML key and a ``key=value`` override (``setting_words``). Unknown keys are errors that suggest the nearest
one; so are settings that would have no effect (``config_checks``).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from halign.config_checks import reject_ineffective, reject_mixed_texts, reject_mixed_values
from halign.errors import HalignError
from halign.objectives.registry import Objective, find
from halign.train_settings import VIRTUAL, TrainSettings


class RunConfig(BaseModel):
    """A whole run: what stands in its ``config.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: dict[str, float] = Field(description="objective name -> its weight in the loss")
    objective_settings: dict[str, dict[str, Any]] = Field(description="objective name -> its settings")
    train: TrainSettings

    @property
    def objectives(self) -> list[tuple[Objective, float]]:
        """The objectives with their weights."""
        return [(find(name), weight) for name, weight in self.objective.items()]

    @property
    def rewrites(self) -> Objective | None:
        """The text method that rewrites the data, if the objective is one."""
        return next((o for o, _ in self.objectives if o.text), None)

    @property
    def reads_values(self) -> bool:
        """True if it trains a reward model."""
        return any(o.reads_values for o, _ in self.objectives)

    def to_dict(self) -> dict[str, Any]:
        """Flat, as YAML reads it back: train settings at the top, each objective's settings under its name."""
        return {
            "objective": dict(self.objective),
            **{name: dict(values) for name, values in self.objective_settings.items() if values},
            **self.train.model_dump(mode="json"),
        }


def parse_objective(text: str | Mapping[str, float]) -> dict[str, float]:
    """``dpo``, ``dpo+0.2*sft``, or a mapping -> weights by name.

    >>> parse_objective("dpo+0.2*sft")
    {'dpo': 1.0, 'sft': 0.2}

    Raises:
        HalignError: if a weight is no number or a name is unknown.
    """
    if isinstance(text, Mapping):
        mixture = {str(k): float(v) for k, v in text.items()}
    else:
        mixture = {}
        for term in text.split("+"):
            weight, star, name = term.rpartition("*")
            try:
                number = float(weight) if star else 1.0
            except ValueError:
                raise HalignError(
                    f"objective {text!r}: {weight!r} is no weight; write e.g. dpo+0.2*sft"
                ) from None
            if name.strip() in mixture:
                raise HalignError(f"objective {text!r}: {name.strip()} stands there twice")
            mixture[name.strip()] = number
    for name, number in mixture.items():
        find(name)
        if not (math.isfinite(number) and number > 0):
            raise HalignError(f"objective {name}: its weight is {number}; a positive number was expected")
    return mixture


def resolve(objective: str | Mapping[str, float], settings: Mapping[str, Any]) -> RunConfig:
    """Check settings and fill in every default.

    Args:
        objective: name, mixture such as ``dpo+0.2*sft``, or weights by name.
        settings: train settings and objective settings; the latter under the objective's name, or bare where only one
            objective of the mixture knows them.

    Raises:
        HalignError: for an unknown key, a bad value, or a setting that would have no effect.
    """
    mixture = parse_objective(objective)
    objectives = {name: find(name) for name in mixture}
    train_given: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {name: {} for name in mixture}
    for key, value in settings.items():
        if key in TrainSettings.model_fields:
            train_given[key] = value
        elif key in objectives:
            if not isinstance(value, Mapping):
                raise HalignError(f"{key}: a mapping of {key}'s settings was expected, e.g. {key}.beta=0.1")
            for name, inner in value.items():
                own[key][_known_setting(objectives[key], name)] = inner
        else:
            owners = [name for name, o in objectives.items() if key in o.settings]
            if not owners:
                raise HalignError(_unknown(key, objectives))
            if len(owners) > 1:
                raise HalignError(f"{key}: {' and '.join(owners)} both have it; write {owners[0]}.{key}=")
            own[owners[0]][key] = value
    try:
        train = TrainSettings(**train_given)
    except ValidationError as error:
        raise HalignError(_readable(error)) from None
    weights = [own.get("kto", {}).get(name, 1.0) for name in ("desirable_weight", "undesirable_weight")]
    if train.balance and weights != [1.0, 1.0]:
        raise HalignError(
            "balance sets kto's desirable_weight and undesirable_weight; give either it or them"
        )
    complete = {name: _complete(objectives[name], own[name]) for name in mixture}
    reject_mixed_texts(list(objectives.values()))
    reject_mixed_values(list(objectives.values()))
    reject_ineffective(train, set(train_given), objectives, complete)
    if train.max_tokens is None:
        train = train.model_copy(update={"max_tokens": 16384 if torch.cuda.is_available() else 2048})
    if train.learning_rate is None:
        imitating = all(o.kind == "tokens" or o.name == "preferred_ft" for o in objectives.values())
        rate = 2e-5 if imitating else 1e-6
        rate = 1e-5 if any(o.reads_values for o in objectives.values()) else rate
        train = train.model_copy(update={"learning_rate": rate * _raised_rate(train.adapter_kind)})
    return RunConfig(objective=mixture, objective_settings=complete, train=train)


def _known_setting(objective: Objective, name: str) -> str:
    if name in objective.settings:
        return name
    near = difflib.get_close_matches(name, objective.settings, 1)
    known = ", ".join(objective.settings) or "none"
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {known}"
    raise HalignError(f"{objective.name} has no setting {name!r}; {hint}")


def _unknown(key: str, objectives: Mapping[str, Objective]) -> str:
    everything = [
        *TrainSettings.model_fields,
        *(s for o in objectives.values() for s in o.settings),
        *objectives,
    ]
    near = difflib.get_close_matches(key, everything, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "see halign train --help"
    return f"unknown setting {key!r}; {hint}"


def _complete(objective: Objective, given: Mapping[str, Any]) -> dict[str, Any]:
    """Defaults overridden by what was given, each checked against its annotation."""
    values = {name: default for name, (_, default) in objective.settings.items()}
    for name, value in given.items():
        expected, default = objective.settings[name]
        try:
            values[name] = _checker(expected).validate_python(value)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise HalignError(
                f"{objective.name}.{name}: {why} (got {value!r}, the default is {default!r})"
            ) from None
    for name, condition in objective.conditions.items():
        for other, needed in condition.items():
            if values[name] != objective.settings[name][1] and values[other] != needed:
                raise HalignError(f"{objective.name}.{name} would have no effect: it needs {other}={needed}")
    return values


def _checker(expected: Any) -> TypeAdapter[Any]:
    """Validates without turning one type into another, but for whole numbers where a float is wanted; no infinity, no NaN."""
    return TypeAdapter(expected, config=ConfigDict(strict=True, allow_inf_nan=False))


def _readable(error: ValidationError) -> str:
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()]
    return "; ".join(lines)


def _raised_rate(kind: str | None) -> float:
    """How much faster than all weights adapters are trained when nobody said how fast."""
    return 1.0 if kind is None else 1000.0 if kind in VIRTUAL else 10.0
