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
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from halign.errors import HalignError
from halign.objectives.registry import Objective, find
from halign.train_settings import LOW_RANK, VIRTUAL, TrainSettings


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
        return float(text) if "e" in text.lower() else _read_value(text)  # YAML 1.1 reads 1e-4 as a string
    except (ValueError, yaml.YAMLError):
        return _read_value(text)


def _read_value(text: str) -> Any:
    """A value as YAML reads it; but words keep the spaces at their ends, and a colon among them makes no mapping of them.

    >>> [_read_value(text) for text in ("3", "{a: 1}", "Fine: ", '"A: "', "null")]
    [3, {'a': 1}, 'Fine: ', 'A: ', None]
    """
    found = yaml.safe_load(text)
    words = isinstance(found, str) and found == text.strip()
    return text if words or (isinstance(found, dict) and not text.lstrip().startswith("{")) else found


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
    weights = [own.get("kto", {}).get(name, 1.0) for name in ("desirable_weight", "undesirable_weight")]
    if train.balance and weights != [1.0, 1.0]:
        raise HalignError(
            "balance sets kto's desirable_weight and undesirable_weight; give either it or them"
        )
    complete = {name: _complete(objectives[name], own[name]) for name in mixture}
    _reject_mixed_texts(list(objectives.values()))
    _reject_mixed_values(list(objectives.values()))
    _reject_ineffective(train, set(train_given), objectives, complete)
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


def _reject_mixed_texts(objectives: Sequence[Objective]) -> None:
    """A text method rewrites the rows, of which another objective would then see nothing."""
    for objective in objectives:
        if objective.text and len(objectives) > 1:
            raise HalignError(
                f"{objective.name} rewrites the data, so it cannot share a mixture; train with it alone, and with the others "
                "before or after"
            )


def _reject_mixed_values(objectives: Sequence[Objective]) -> None:
    """A reward model has one head, which means one thing, and no words."""
    valued = [o for o in objectives if o.reads_values]
    for other in objectives:
        if valued and (not other.reads_values or other.kind != valued[0].kind):
            raise HalignError(
                f"{valued[0].name} trains a reward model's head, so {other.name} cannot share a mixture with it; train them one "
                "after the other"
            )


def _reject_ineffective(
    train: TrainSettings,
    given: set[str],
    mixture: Mapping[str, Objective],
    settings: Mapping[str, Mapping[str, Any]],
) -> None:
    """A setting that was given and would do nothing is a mistake in somebody's mind."""
    objectives = list(mixture.values())
    kinds = {o.kind for o in objectives}
    log_ratios = any(o.needs_reference for o in objectives)
    compared = log_ratios or any(o.compares_distributions(settings[name]) for name, o in mixture.items())
    against = any(o.needs_reference and o.kind in ("pairs", "lists") for o in objectives)
    only_tokens = kinds == {"tokens"}
    rewritten = any(o.text for o in objectives)
    valued = any(o.reads_values for o in objectives)
    low_rank = train.adapter_kind in LOW_RANK
    rules: dict[str, tuple[bool, str]] = {
        "lora_rank": (low_rank, f"adapter={train.adapter} has no rank; it has virtual_tokens"),
        "lora_alpha": (low_rank, "it needs lora_rank"),
        "lora_dropout": (low_rank, "it needs lora_rank"),
        "lora_targets": (low_rank, "it needs lora_rank"),
        "modules_to_save": (low_rank, "it needs lora_rank; without adapters every module is trained in full"),
        "virtual_tokens": (train.adapter in VIRTUAL, "only adapter=prompt and adapter=prefix have them"),
        "adalora_target_rank": (train.adapter == "adalora", "only adapter=adalora moves ranks"),
        "embedding_learning_rate": (train.optimizer == "muon", "only optimizer=muon has it"),
        "adam_beta2": (train.optimizer != "sgd", "sgd has no second moment"),
        "roles": ("tokens" in kinds and not rewritten, "only token objectives (sft) choose roles"),
        "response_prefix": (not rewritten, "the method itself says what a response begins with"),
        "past_masking": (only_tokens, "only token objectives train on one forward pass that may be noisy"),
        "dropout": (only_tokens, "preference objectives compare two forward passes, so dropout stays off"),
        "reference": (compared, "no objective here uses a reference"),
        "pairs": (
            "pairs" in kinds or ("singles" in kinds and not valued),
            "no objective here takes pairs or singles",
        ),
        "balance": (any(o.name == "kto" for o in objectives), "only kto weighs good against bad"),
        "threshold": ("singles" in kinds and not valued, "no objective here takes good and bad singles"),
        "stop_below": (against, "only pairs and lists with a reference have log-ratios of chosen responses"),
        "stop_drift": (log_ratios, "no objective here uses a reference"),
    }
    for name, (effective, why) in rules.items():
        default = TrainSettings.model_fields[name].get_default(call_default_factory=True)
        # spelling out a default is no mistake: a recorded config.yaml does
        if name in given and not effective and getattr(train, name) not in (False, None, default):
            raise HalignError(f"{name} would have no effect: {why}")
    _check_adapter(train)
    if train.adapter in VIRTUAL and valued:
        raise HalignError(f"adapter={train.adapter} does not go with reward models; use adapter=lora")


def _check_adapter(train: TrainSettings) -> None:
    """Settings of adapters that do not go together."""
    kind = train.adapter_kind
    target = train.adalora_target_rank
    wrong: dict[str, bool] = {
        "reference=adapter needs lora_rank or adapter: without adapters there is nothing to switch off": (
            train.reference == "adapter" and kind is None
        ),
        f"adapter={kind} needs lora_rank": kind in LOW_RANK and not train.lora_rank,
        f"adapter=adalora takes ranks away: adalora_target_rank={target or 1} has to be below lora_rank={train.lora_rank}": (
            kind == "adalora" and train.lora_rank <= (target or 1)
        ),
        "adapter=adalora does not go with optimizer=muon, which takes its singular values for a matrix; use adamw": (
            kind == "adalora" and train.optimizer == "muon"
        ),
        "adapter=prefix does not go with gradient_checkpointing: a model that recomputes its layers drops keys and values "
        "from before; use adapter=prompt": kind == "prefix" and train.gradient_checkpointing,
    }
    for says, so in wrong.items():
        if so:
            raise HalignError(says)


def _raised_rate(kind: str | None) -> float:
    """How much faster than all weights adapters are trained when nobody said how fast."""
    return 1.0 if kind is None else 1000.0 if kind in VIRTUAL else 10.0
