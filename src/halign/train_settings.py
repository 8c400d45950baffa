"""The settings of a training run: names, types, defaults and what each means. Which are wrong together says ``halign.config``."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LOW_RANK = ("lora", "rslora", "dora", "adalora")
"""Adapters that add a matrix of low rank to the weights."""
VIRTUAL = ("prompt", "prefix")
"""Adapters that put virtual tokens before every path."""


class TrainSettings(BaseModel):
    """Everything about a training run but the model, the data, the objective and the output folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float | None = Field(
        None,
        gt=0,
        description="peak learning rate; unset: 2e-5 for sft, 1e-6 for preferences, 1e-5 for reward models; ten times that with "
        "adapters of low rank, a thousand times with virtual tokens",
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
    past_masking: tuple[float, float] | None = Field(
        None,
        description="in training, hide a share of its past from every token, drawn anew for each row from this range (token "
        "objectives only)",
    )
    dropout: bool = Field(False, description="leave the model's dropout on (token objectives only)")

    dtype: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="precision of the computation; weights and log-probabilities stay as loaded and fp32",
    )
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass: less memory"
    )
    lanes: int | None = Field(
        None,
        gt=0,
        description="forward passes at once, each on its share of the processor's cores; unset: one per core where the model is "
        "small, else 1. Every one takes the memory of its activations",
    )
    separate: bool = Field(False, description="encode every path apart: the plain way, for comparison")

    adapter: Literal["lora", "rslora", "dora", "adalora", "prompt", "prefix"] | None = Field(
        None,
        description="what is trained instead of all weights: changes of low rank (lora, rslora, dora, adalora), or virtual "
        "tokens before every text (prompt: embeddings, prefix: keys and values); unset: lora if lora_rank is given",
    )
    lora_rank: int = Field(0, ge=0, description="rank of the adapters; 0 without adapter= trains all weights")
    lora_alpha: float | None = Field(None, gt=0, description="LoRA scale; unset: twice the rank")
    lora_dropout: float | None = Field(None, ge=0, lt=1, description="dropout on the adapters' input")
    lora_targets: tuple[str, ...] | None = Field(
        None, description="modules with adapters; unset: every linear layer"
    )
    modules_to_save: tuple[str, ...] | None = Field(
        None, description="modules trained in full beside the adapters, e.g. [embed_tokens, lm_head]"
    )
    virtual_tokens: int | None = Field(
        None, gt=0, description="number of virtual tokens (prompt, prefix); unset: 20"
    )
    adalora_target_rank: int | None = Field(
        None, gt=0, description="mean rank a layer is left with by adalora; unset: two thirds of lora_rank"
    )

    reference: Literal["auto", "cached", "frozen", "adapter"] = Field(
        "auto",
        description="where reference log-probabilities come from: computed once and cached, a frozen copy of what is "
        "trained, or the adapters switched off; auto: adapter with fresh adapters, else cached",
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
    response_prefix: str | None = Field(
        None,
        description="words that responses are made to begin with; unset: those the model was trained for",
    )
    template_args: dict[str, Any] = Field(default_factory=dict, description="passed to the chat template")
    accept: tuple[str, ...] = Field((), description="preflight findings to accept, by name")

    @property
    def virtual_count(self) -> int:
        """How many virtual tokens are to be trained; 0 where adapters of another kind are, or none."""
        return (self.virtual_tokens or 20) if self.adapter in VIRTUAL else 0

    @property
    def adapter_kind(self) -> str | None:
        """The kind of adapters to train; None: all weights."""
        return self.adapter or ("lora" if self.lora_rank else None)

    @field_validator("roles", mode="before")
    @classmethod
    def _one_role(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("past_masking")
    @classmethod
    def _a_range_of_shares(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not 0 <= value[0] <= value[1] < 1:
            raise ValueError("expected [least, most] with 0 <= least <= most < 1")
        return value if value and value[1] else None
