"""What a run of a value objective starts from: a reward model, or a language model that becomes one."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from halign.adapters.build import has_adapters
from halign.config import RunConfig
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Example
from halign.likelihood import make_renderer
from halign.models import Policy
from halign.rewards.data import attribute_names
from halign.rewards.facts import Facts
from halign.rewards.model import RewardModel
from halign.scoring import backbone


def as_reward(policy: Policy, config: RunConfig, examples: Sequence[Example]) -> Policy:
    """The policy as the objective takes it: for one that reads values a reward model, made of the policy's trunk or going on.

    Raises:
        HalignError: if a reward model's outputs mean something else than the objective's, or the objective wants words of it.
    """
    if not config.reads_values:
        if isinstance(policy, RewardModel):
            raise HalignError(
                f"{', '.join(config.objective)} trains a language model, and {policy.path} is a reward model"
            )
        return policy
    wanted = wanted_facts(config, examples)
    if not isinstance(policy, RewardModel):
        return from_causal(policy, wanted, seed=config.train.seed)
    if policy.facts.outputs != wanted:
        raise HalignError(
            f"{policy.path} has the outputs {', '.join(policy.facts.labels)}, and {', '.join(config.objective)} on this data "
            f"needs {', '.join(wanted.labels)}; start from a language model, or give data that fits"
        )
    # a bias is of what the model was, and goes
    return dataclasses.replace(policy, facts=wanted) if policy.facts.bias else policy


def wanted_facts(config: RunConfig, examples: Sequence[Example]) -> Facts:
    """What the outputs of a run's model mean."""
    objective = next(o for o, _ in config.objectives if o.reads_values)
    if objective.kind == "lists":
        return Facts()
    if objective.kind == "pairs":
        return Facts("pairwise")
    settings = config.objective_settings[objective.name]
    levels = settings.get("levels", 0) if settings.get("head") == "categorical" else 0
    return Facts("attributes", attribute_names(examples), levels)


def from_causal(policy: Policy, facts: Facts, *, seed: int = 0) -> RewardModel:
    """A reward model on a language model's trunk, which the two then share; only the head is new.

    The head starts small (standard deviation 1 / (d + 1) for hidden states of size d), so that training begins near chance.

    Raises:
        HalignError: if the model has adapters, or transformers knows no sequence classification for its architecture.
    """
    from transformers import AutoModelForSequenceClassification

    if has_adapters(policy.model):
        raise HalignError(
            "a reward model starts from plain weights: halign merge makes them of adapters on their base"
        )
    inner: Any = policy.model
    known: Any = AutoModelForSequenceClassification._model_mapping
    if type(inner.config) not in known:
        raise HalignError(f"transformers has no sequence-classification class for {type(inner).__name__}")
    endings = _endings(policy)
    trunk, config = backbone(inner), inner.config
    labels = facts.labels
    config.id2label, config.label2id = dict(enumerate(labels)), {n: i for i, n in enumerate(labels)}
    with torch.device("meta"):
        model: Any = known[type(config)](config)
    if not isinstance(getattr(model, "score", None), nn.Linear):
        raise HalignError(
            f"{type(model).__name__} does not read the last token with a linear layer called score"
        )
    setattr(model, model.base_model_prefix, trunk)
    weight = next(trunk.parameters())
    width = model.score.in_features
    drawn = torch.randn(len(labels), width, generator=torch.Generator().manual_seed(seed)) / (width + 1)
    model.score = nn.Linear(width, len(labels), bias=False, device=weight.device, dtype=weight.dtype)
    model.score.weight.data.copy_(drawn)
    if any(p.is_meta for p in model.parameters()):
        raise HalignError(
            f"{type(model).__name__} has more than a trunk and a head; it cannot be made of {type(inner).__name__}"
        )
    tokenizer = copy.deepcopy(policy.tokenizer)
    config.pad_token_id = _pad(model, tokenizer, endings)
    rendering = {**policy.rendering, "stop_ids": sorted(policy.stop_ids)}
    return RewardModel(model.train(inner.training), tokenizer, policy.path, rendering, facts)


def _endings(policy: Policy) -> set[int]:
    """Tokens that a path may end with: the end of a turn, and of a text."""
    found = {policy.tokenizer.eos_token_id}
    # without a chat template, or with one that refuses this, texts are plain
    with contextlib.suppress(Exception):
        path = make_renderer(policy).path(
            Dialogue.of([{"role": "user", "content": "Hi"}]), Message("assistant", "Hi")
        )
        found |= {int(path.ids[-1])} if path else set()
    return found


def _pad(model: Any, tokenizer: Any, endings: set[int]) -> int:
    """A pad token that ends no path: the tokenizer's own, another special token, or a new one."""
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in endings:
        special = [i for i, t in tokenizer.added_tokens_decoder.items() if t.special and i not in endings]
        special.sort(key=lambda i: "pad" not in str(tokenizer.added_tokens_decoder[i]).lower())
        if special:
            tokenizer.pad_token = str(tokenizer.added_tokens_decoder[special[0]])
        else:
            tokenizer.add_special_tokens({"pad_token": "<|pad|>"})
            if tokenizer.pad_token_id >= model.get_input_embeddings().num_embeddings:
                model.resize_token_embeddings(tokenizer.pad_token_id + 1, mean_resizing=False)
    return int(tokenizer.pad_token_id)
