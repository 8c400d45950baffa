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
