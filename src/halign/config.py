"""Settings of a training run: what they are called, what they mean, which are wrong together.

Every setting is a YAML key and a ``key=value`` override. Unknown keys are errors that suggest the nearest one; so are settings
that would have no effect.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from halign.errors import HalignError
from halign.objectives.registry import Objective, find


class TrainSettings(BaseModel):
    """Everything about a training run but the model, the data, the objective and the output folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate; unset: 2e-5 for sft, 1e-6 for preferences, ten times that with LoRA",
    )
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="decay after the warm-up")
    warmup: float = Field(
        0.1, ge=0, description="warm-up: a share of the steps if below 1, else a number of steps"
    )
    epochs: float = Field(1.0, gt=0, description="passes over the data")
    max_steps: int | None = Field(None, gt=0, description="stop after this many optimiser steps")
    batch_items: int = Field(
        8, gt=0, description="items (pairs, lists, singles, agent turns) in one optimiser step"
    )
    max_tokens: int | None = Field(
        None, gt=0, description="distinct tokens in one forward pass; unset: 2048 on a CPU, 16384 on a GPU"
    )
    max_length: int | None = Field(
        None, gt=0, description="tokens of prompt and response; longer prompts lose whole old turns"
    )
    shuffle: Literal["conversations", "items", "none"] = Field(
        "conversations", description="what is shuffled; conversations keep their shared trunk in one step"
    )
    seed: int = Field(0, ge=0, description="for data order, adapters and dropout")

    optimizer: Literal["adamw", "muon", "sgd"] = Field(
        "adamw", description="muon: matrices by Muon, the rest by AdamW"
    )
    embedding_learning_rate: float | None = Field(
        None, gt=0, description="with muon: rate of what AdamW trains"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled, on matrices")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="decay of AdamW's second moment")
    clip: float | None = Field(1.0, gt=0, description="largest norm of the gradient; null: no clipping")
    dropout: bool = Field(False, description="leave the model's dropout on (token objectives only)")

    dtype: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="precision of the computation; weights and log-probabilities stay as loaded and fp32",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory"
    )
    separate: bool = Field(False, description="encode every path apart: the plain way, for comparison")

    lora_rank: int = Field(0, ge=0, description="rank of LoRA adapters; 0 trains all weights")
    lora_alpha: float | None = Field(None, gt=0, description="LoRA scale; unset: twice the rank")
    lora_dropout: float | None = Field(None, ge=0, lt=1, description="dropout on the adapters' input")
    lora_targets: tuple[str, ...] | None = Field(
        None, description="modules with adapters; unset: every linear layer"
    )

    reference: Literal["auto", "cached", "frozen", "adapter"] = Field(
        "auto",
        description="where reference log-probabilities come from: computed once and cached, a frozen copy, or the "
        "adapters switched off; auto: adapter with LoRA, else cached",
    )
    roles: tuple[str, ...] = Field(("assistant",), description="whose turns demonstrations teach")
    pairs: Literal["best_rest", "all", "adjacent"] | None = Field(
        None, description="how rankings become pairs; needed when they have to"
    )
    threshold: float | None = Field(None, description="score from which a response counts as good")

    balance: bool = Field(
        False, description="kto: weigh the classes by their counts, so that neither drowns the other"
    )

    eval_share: float = Field(
        0.0, ge=0, lt=1, description="share of the conversations held out for evaluation"
    )
    eval_every: int | None = Field(
        None, gt=0, description="steps between evaluations; unset: before and after"
    )
    save_every: int | None = Field(
        None, gt=0, description="steps between checkpoints; unset: only when interrupted"
    )
    keep_checkpoints: int = Field(2, gt=0, description="older ones are deleted")
    stop_below: float | None = Field(
        None, gt=0, description="stop when chosen responses have lost this many nats against the reference"
    )
    stop_drift: float | None = Field(
        None, gt=0, description="stop when the mean log-ratio to the reference leaves +- this many nats"
    )
    tensorboard: bool = Field(True, description="write TensorBoard event files")
    response_body: bool = Field(
        False, description="for templates whose prompt is no prefix of the whole rendering"
    )
    template_args: dict[str, Any] = Field(default_factory=dict, description="passed to the chat template")
    accept: tuple[str, ...] = Field((), description="preflight findings to accept, by name")


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


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """``key=value`` words -> a nested dict; values are read as YAML, dots nest.

    >>> parse_overrides(["beta=0.2", "dpo.label_smoothing=.1", "roles=[user, assistant]", "lr=1e-4"])
    {'beta': 0.2, 'dpo': {'label_smoothing': 0.1}, 'roles': ['user', 'assistant'], 'lr': 0.0001}
    """
    found: dict[str, Any] = {}
    for word in pairs:
        key, equals, value = word.partition("=")
        if not equals:
            raise HalignError(f"{word!r}: settings are written key=value")
        place = found
        outsider, colon, rest = key.rpartition(":")  # package.module:function.beta has dots of its own
        *outer, last = rest.split(".")
        if outer:
            outer[0] = outsider + colon + outer[0]
        else:
            last = outsider + colon + last
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise HalignError(f"{word!r}: {part} has a value already")
        place[last] = _scalar(value)
    return found


def _scalar(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() else yaml.safe_load(text)  # YAML 1.1 reads 1e-4 as a string
    except (ValueError, yaml.YAMLError):
        return yaml.safe_load(text)


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""Numbers that YAML 1.1 reads as strings, such as 1e-4."""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A settings file.

    Raises:
        HalignError: if it is missing, no YAML, or no mapping.
    """
    try:
        found = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError) as error:
        raise HalignError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise HalignError(f"{path}: a mapping of settings was expected")
    return {k: _reread(v) for k, v in found.items()}


def _reread(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _reread(v) for k, v in value.items()}
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


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
    if train.balance and {"desirable_weight", "undesirable_weight"} & own.get("kto", {}).keys():
        raise HalignError(
            "balance sets kto's desirable_weight and undesirable_weight; give either it or them"
        )
    complete = {name: _complete(objectives[name], own[name]) for name in mixture}
    _reject_ineffective(train, set(train_given), list(objectives.values()))
    if train.max_tokens is None:
        train = train.model_copy(update={"max_tokens": 16384 if torch.cuda.is_available() else 2048})
    if train.learning_rate is None:
        rate = 2e-5 if all(o.kind == "tokens" for o in objectives.values()) else 1e-6
        train = train.model_copy(update={"learning_rate": rate * (10 if train.lora_rank else 1)})
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


def _reject_ineffective(train: TrainSettings, given: set[str], objectives: Sequence[Objective]) -> None:
    """A setting that was given and would do nothing is a mistake in somebody's mind."""
    kinds = {o.kind for o in objectives}
    only_tokens = kinds == {"tokens"}
    rules: dict[str, tuple[bool, str]] = {
        "lora_alpha": (train.lora_rank > 0, "it needs lora_rank"),
        "lora_dropout": (train.lora_rank > 0, "it needs lora_rank"),
        "lora_targets": (train.lora_rank > 0, "it needs lora_rank"),
        "embedding_learning_rate": (train.optimizer == "muon", "only optimizer=muon has it"),
        "adam_beta2": (train.optimizer != "sgd", "sgd has no second moment"),
        "roles": ("tokens" in kinds, "only token objectives (sft) choose roles"),
        "dropout": (only_tokens, "preference objectives compare two forward passes, so dropout stays off"),
        "reference": (any(o.needs_reference for o in objectives), "no objective here uses a reference"),
        "pairs": (bool(kinds & {"pairs", "singles"}), "no objective here takes pairs or singles"),
        "balance": (any(o.name == "kto" for o in objectives), "only kto weighs good against bad"),
        "threshold": ("singles" in kinds, "no objective here takes good and bad singles"),
        "stop_below": ("pairs" in kinds, "only pairs have chosen responses"),
        "stop_drift": (any(o.needs_reference for o in objectives), "no objective here uses a reference"),
    }
    for name, (effective, why) in rules.items():
        default = TrainSettings.model_fields[name].get_default(call_default_factory=True)
        # spelling out a default is no mistake: a recorded config.yaml does
        if name in given and not effective and getattr(train, name) not in (False, None, default):
            raise HalignError(f"{name} would have no effect: {why}")
    if train.reference == "adapter" and not train.lora_rank:
        raise HalignError(
            "reference=adapter needs lora_rank: without adapters there is nothing to switch off"
        )
