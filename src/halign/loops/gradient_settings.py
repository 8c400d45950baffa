"""What every policy gradient can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from halign.loops.contract import LoopSettings
from halign.train_settings import TrainSettings

Normalisation = Literal["tokens", "replies", "constant"]

SHARED = (
    *("seed", "optimizer", "weight_decay", "adam_beta2", "embedding_learning_rate", "dtype", "max_tokens"),
    *("separate", "gradient_checkpointing", "lora_rank", "lora_alpha", "lora_targets"),
)
"""Settings that mean what they mean in training."""


class GradientSettings(LoopSettings):
    """Settings of ``ppo``, ``reinforce``, ``rloo`` and ``grpo`` alike."""

    iterations: int = Field(100, ge=1, description="rounds of sampling, grading and learning")
    prompts: int = Field(16, ge=1, description="prompts answered in an iteration, each ``samples`` times")
    minibatches: int = Field(
        1, ge=1, description="optimiser steps that an iteration's prompts are spread over"
    )
    epochs: int = Field(1, ge=1, description="times that an iteration's replies are learnt from")
    clip: float = Field(
        0.2, gt=0, description="how far a token's ratio to the policy that drew it may leave 1"
    )
    normalisation: Normalisation = Field(
        "tokens",
        description="what the loss is a mean over: tokens (all alike), replies (each reply's mean over its tokens), "
        "or constant (a "
        "reply's sum over max_new_tokens, whatever its length: the unbiased one)",
    )
    stop_kl: float | None = Field(
        None,
        gt=0,
        description="leave the rest of an iteration's updates out once their KL from the policy that drew exceeds "
        "this, nats a token",
    )
    beta: float = Field(0.02, ge=0, description="weight of the KL divergence from the reference, per nat")
    clip_rewards: float | None = Field(None, gt=0, description="cut scores at +- this")
    missing_stop_penalty: float = Field(
        0.0, ge=0, description="taken off the score of a reply that never stops, in units of the reward"
    )

    learning_rate: float | None = Field(
        None, gt=0, description="peak; unset: 1e-6, ten times that with adapters of low rank"
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="decay over the iterations"
    )
    warmup: int = Field(0, ge=0, description="iterations of warm-up")
    optimizer: Literal["adamw", "muon", "sgd"] = Field("adamw", description="as in training")
    embedding_learning_rate: float | None = Field(
        None, gt=0, description="with muon: rate of what AdamW trains"
    )
    weight_decay: float = Field(0.0, ge=0, description="decoupled, on matrices")
    adam_beta2: float = Field(0.999, gt=0, lt=1, description="decay of AdamW's second moment")
    gradient_clip: float | None = Field(
        1.0, gt=0, description="largest norm of the gradient; null: no clipping"
    )
    dtype: Literal["fp32", "bf16"] = Field("fp32", description="precision of scoring and learning")
    max_tokens: int = Field(2048, gt=0, description="distinct tokens in one forward pass")
    separate: bool = Field(False, description="encode every path apart: the plain way, for comparison")
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory"
    )
    lora_rank: int = Field(0, ge=0, description="rank of LoRA adapters; 0 trains all weights")
    lora_alpha: float | None = Field(None, gt=0, description="LoRA scale; unset: twice the rank")
    lora_targets: tuple[str, ...] | None = Field(
        None, description="modules with adapters; unset: every linear layer"
    )
    shared_trunk: Literal["auto", "off"] = Field(
        "auto",
        description="with adapters, hold once what policy, reward model and critic have in common (weights that are frozen and "
        "equal); off: every model apart, the same numbers",
    )

    eval_every: int | None = Field(
        None, gt=0, description="iterations between evaluations on held-out prompts; unset: before and after"
    )
    eval_prompts: int = Field(64, ge=1, description="held-out prompts answered in an evaluation, at most")
    save_every: int | None = Field(
        None, gt=0, description="iterations between checkpoints; unset: only when interrupted"
    )
    keep_checkpoints: int = Field(2, gt=0, description="older ones are deleted")
    samples_every: int = Field(10, ge=1, description="iterations between samples kept in samples.jsonl")
    tensorboard: bool = Field(True, description="write TensorBoard event files")

    @field_validator("temperature", "top_p")
    @classmethod
    def _the_model_itself(cls, value: float) -> float:
        if value != 1:
            raise ValueError("a policy gradient is of the distribution that is drawn from: only 1 will do")
        return value

    @field_validator("shared_trunk", mode="before")
    @classmethod
    def _off(cls, value: object) -> object:
        return "off" if value is False else value  # as YAML reads the word

    @model_validator(mode="after")
    def _no_setting_in_vain(self) -> GradientSettings:
        for name, (effective, why) in self.effects().items():
            default = type(self).model_fields[name].get_default()
            # spelling out a default is no mistake: a recorded config.yaml does
            if not effective and getattr(self, name) != default:
                raise ValueError(f"{name} would have no effect: {why}")
        return self

    def effects(self) -> dict[str, tuple[bool, str]]:
        """Settings that need others: whether they have an effect, and why they would have none."""
        low_rank = (bool(self.lora_rank), "it needs lora_rank")
        updates = self.epochs * self.minibatches
        return {
            "lora_alpha": low_rank,
            "lora_targets": low_rank,
            "embedding_learning_rate": (self.optimizer == "muon", "only optimizer=muon has it"),
            "adam_beta2": (self.optimizer != "sgd", "sgd has no second moment"),
            "stop_kl": (
                updates > 1,
                "there is one update an iteration; it needs epochs or minibatches above 1",
            ),
        }

    def of_training(self) -> TrainSettings:
        """The settings by which the model is made ready and its optimisers are built."""
        rate = self.learning_rate or (1e-5 if self.lora_rank else 1e-6)
        shared = {name: getattr(self, name) for name in SHARED}
        return TrainSettings(learning_rate=rate, clip=self.gradient_clip, **shared)
