"""Settings that are wrong together, or that would have no effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from halign.errors import HalignError
from halign.objectives.registry import Objective
from halign.train_settings import LOW_RANK, VIRTUAL, TrainSettings


def reject_mixed_texts(objectives: Sequence[Objective]) -> None:
    """A text method rewrites the rows, of which another objective would then see nothing."""
    for objective in objectives:
        if objective.text and len(objectives) > 1:
            raise HalignError(
                f"{objective.name} rewrites the data, so it cannot share a mixture; train with it alone, and with the others "
                "before or after"
            )


def reject_mixed_values(objectives: Sequence[Objective]) -> None:
    """A reward model has one head, which means one thing, and no words."""
    valued = [o for o in objectives if o.reads_values]
    for other in objectives:
        if valued and (not other.reads_values or other.kind != valued[0].kind):
            raise HalignError(
                f"{valued[0].name} trains a reward model's head, so {other.name} cannot share a mixture with it; train them one "
                "after the other"
            )


def reject_ineffective(
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
