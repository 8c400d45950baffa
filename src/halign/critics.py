"""Critics: what a state is worth, read where log-probabilities are read, inside the forward of the policy's scorer."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from halign.adapters.build import add_adapters
from halign.adapters.sharing import copy_of, share_trunk
from halign.casts import linear_fp32
from halign.errors import HalignError
from halign.last_layer import read_last_layer
from halign.lean import lean_layers
from halign.models import Policy, checkpoint_gradients, disable_dropout
from halign.rewards.facts import Facts
from halign.rewards.model import RewardModel
from halign.rewards.protocol import LearnedReward
from halign.rewards.starting import from_causal
from halign.scoring import ValueScorer, unwrap
from halign.train_settings import TrainSettings
from halign.trie import TreeBatch

CriticKind = Literal["head", "separate"]


class HeadCritic(nn.Module):
    """A linear layer on the policy's own hidden states; it starts small, as a reward model's head does.

    Args:
        width: of the hidden states.
        detached: learn the layer alone, and leave the policy's trunk to the policy's loss.
    """

    def __init__(self, width: int, *, detached: bool = False, seed: int = 0) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        drawn = torch.randn(1, width, generator=torch.Generator().manual_seed(seed)) / (width + 1)
        self.score.weight.data.copy_(drawn)
        self.score.bias.data.zero_()
        self.detached = detached

    def forward(self, batch: TreeBatch, hidden: Tensor | None) -> Tensor:
        """Values at the positions that the batch reads, float32 [M], from the policy's hidden states there [M, d].

        Raises:
            HalignError: if the policy gives no hidden states.
        """
        if hidden is None:
            raise HalignError(
                "critic=head reads the policy's hidden states, and this model's head could not be taken apart; critic=separate"
            )
        return linear_fp32(self.score, hidden.detach() if self.detached else hidden)[:, 0]


class SeparateCritic(nn.Module):
    """A model of its own with one output, which reads the same batch.

    Args:
        model: a reward model, whose weights the critic takes over.
    """

    def __init__(self, model: RewardModel) -> None:
        super().__init__()
        self.scorer = ValueScorer(model.model, model.capability.scheme, None)
        self.bias = model.facts.bias

    def forward(self, batch: TreeBatch, hidden: Tensor | None) -> Tensor:
        """Values at the positions that the batch reads, float32 [M], with the reward's bias (``Facts.bias``); the policy's hidden
        states are not looked at."""
        return self.scorer.at(batch, batch.read_at)[:, 0] + self.bias


def make_critic(
    kind: CriticKind,
    policy: Policy,
    reward: Any,
    undo: contextlib.ExitStack,
    *,
    detached: bool = False,
    seed: int = 0,
    adapters: TrainSettings | None = None,
    share: bool = False,
    checkpointed: bool = False,
) -> nn.Module:
    """The critic of that kind, to be trained.

    A separate one starts from the reward model, where the reward is one, as InstructGPT's does; else from the policy's trunk with
    a fresh head. The reward model and the policy keep their own weights. Where the reward model has adapters, those are trained
    with the head, and its base stays as it is.

    Args:
        adapters: what trains on the policy's trunk, where the critic starts from that; None: all weights.
        share: hold frozen weights once, together with the model that the critic starts from (``adapters.sharing``); changes no
            number.
        checkpointed: recompute a separate critic's activations in the backward pass.

    Raises:
        HalignError: if the reward model reads other tokens than the policy, or takes other masks.
    """
    if kind == "head":
        width = unwrap(policy.model).get_output_embeddings().weight.shape[1]
        return HeadCritic(width, detached=detached, seed=seed)
    model = _own_model(policy, reward, seed, adapters, share)
    if model.capability.scheme != policy.capability.scheme:
        raise HalignError(
            "critic=separate: the reward model's architecture takes other masks than the policy's; critic=head, or separate=true"
        )
    if checkpointed:
        undo.callback(checkpoint_gradients(model.model))
    undo.callback(disable_dropout(model.model))
    undo.callback(lean_layers(model.model, checkpointed=checkpointed))
    model.model.train()  # or layers would not be checkpointed
    made = SeparateCritic(model)
    undo.callback(read_last_layer(made.scorer))
    return made


def _own_model(
    policy: Policy, reward: Any, seed: int, adapters: TrainSettings | None, share: bool
) -> RewardModel:
    if isinstance(reward, LearnedReward) and reward.model.facts.kind == "reward":
        given = reward.model
        theirs, own = given.tokenizer.get_vocab(), policy.tokenizer.get_vocab()
        # theirs may have more: a pad token of their own
        if any(theirs.get(token) != place for token, place in own.items()):
            raise HalignError(
                "critic=separate starts from the reward model, whose tokenizer is not the policy's; critic=head"
            )
        model = copy_of(given.model, share=share)
        return RewardModel(model, given.tokenizer, given.path, given.rendering, given.facts)
    return _on_policys_trunk(policy, seed, adapters, share)


def _on_policys_trunk(policy: Policy, seed: int, adapters: TrainSettings | None, share: bool) -> RewardModel:
    """A fresh head, and fresh adapters where the settings are given, on the policy's trunk or a copy of it."""
    model: Any = copy_of(policy.model, share=share)
    if share:  # a new pad token would lengthen the policy's matrix in place
        embeddings = model.get_input_embeddings()
        embeddings.weight = copy.deepcopy(embeddings.weight)
    fresh = from_causal(Policy(model, policy.tokenizer, policy.path, policy.rendering), Facts(), seed=seed)
    if adapters is not None:
        fresh.model = add_adapters(fresh.model, adapters)
    if share:
        share_trunk(fresh.model, policy.model)
    return fresh
