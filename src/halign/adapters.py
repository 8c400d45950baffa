"""LoRA through peft."""

from __future__ import annotations

from typing import Any

from torch import nn

from halign.config import TrainSettings
from halign.errors import HalignError


def add_lora(model: nn.Module, settings: TrainSettings) -> nn.Module:
    """Wrap a model with fresh LoRA adapters; they start at zero, so the policy still equals the reference.

    Raises:
        HalignError: if the model has none of the target modules.
    """
    from peft import LoraConfig, get_peft_model

    alpha: Any = settings.lora_alpha or 2 * settings.lora_rank
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=alpha,
        lora_dropout=settings.lora_dropout or 0.0,
        target_modules=list(settings.lora_targets) if settings.lora_targets else "all-linear",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise HalignError(f"lora_targets: {error}") from error


def has_adapters(model: nn.Module) -> bool:
    """True for a model wrapped by peft."""
    return hasattr(model, "peft_config")


def check_adapters(model: Any, settings: TrainSettings) -> None:
    """Adapters that are there already go on being trained: settings for new ones would have no effect.

    Raises:
        HalignError: if the settings ask for others.
    """
    there = model.peft_config[model.active_adapter]
    rank = getattr(there, "r", None)
    if rank != settings.lora_rank:
        raise HalignError(
            f"lora_rank={settings.lora_rank} would have no effect: the model has adapters of rank {rank}, which go on being "
            "trained (merge them first to start new ones)"
        )
