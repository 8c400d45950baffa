"""A policy's model made ready to be trained: adapters, dropout, memory, and how it is to be scored."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

from torch import nn

from halign import optimizers
from halign.adapters.build import add_adapters, check_adapters, has_adapters
from halign.attention import MaskScheme
from halign.errors import HalignError
from halign.last_layer import read_last_layer
from halign.lean import lean_layers
from halign.models import Policy, checkpoint_gradients, disable_dropout
from halign.probe import with_adapters
from halign.quantize import check_trainable
from halign.scoring import Scorer, make_scorer
from halign.train_settings import TrainSettings


@dataclass(frozen=True)
class Equipped:
    """A model that can be trained.

    Attributes:
        scorer: wraps it; what accelerate is to prepare.
        fresh_adapters: True if adapters were added just now.
        separate: every path goes through the model by itself.
        flat: tries stand end to end in one row.
    """

    scorer: Scorer
    fresh_adapters: bool
    separate: bool
    flat: bool


def equip(
    policy: Policy, s: TrainSettings, undo: contextlib.ExitStack, critic: nn.Module | None = None
) -> Equipped:
    """Make the policy's model ready; what is not to last is put back by ``undo``.

    Args:
        critic: gives values beside log-probabilities (``halign.critics``).

    Raises:
        HalignError: if the model cannot be trained with these settings.
    """
    model, capability = policy.model, policy.capability
    fresh = s.adapter_kind is not None and not has_adapters(model)
    if fresh:
        model = policy.model = add_adapters(model, s)
        capability = policy.capability = with_adapters(capability, model)
    elif s.adapter_kind:
        check_adapters(model, s)
    elif not has_adapters(model):
        check_trainable(model)
    if s.gradient_checkpointing:
        undo.callback(checkpoint_gradients(model))
    if not s.dropout:
        undo.callback(disable_dropout(model, keep_adapters=bool(s.lora_dropout)))
    undo.callback(lean_layers(model, checkpointed=s.gradient_checkpointing))
    undo.callback(model.train, model.training)
    model.train()
    scheme = _scheme(capability.scheme, s)
    separate = s.separate or not scheme.shares
    scorer = make_scorer(model, scheme, capability.transform, critic)
    if not s.dropout:
        undo.callback(read_last_layer(scorer))
    return Equipped(scorer, fresh, separate, scheme.kernel == "trie" and not separate)


def _scheme(scheme: MaskScheme, s: TrainSettings) -> MaskScheme:
    if s.past_masking and not scheme.shares:
        raise HalignError(
            "past_masking: paths of this model are not masked (it takes no attention mask, or has virtual tokens), so "
            "nothing can be hidden from it"
        )
    if s.dropout or s.past_masking:  # trie attention has no dropout on its weights, nor a mask of pairs
        return replace(scheme, kernel="dense")
    return scheme


def build_optimizers(module: nn.Module, s: TrainSettings) -> optimizers.Optimizers:
    """The optimisers that the settings ask for, over what of a module is trained."""
    return optimizers.build(
        module,
        s.optimizer,
        learning_rate=s.learning_rate or 0.0,
        weight_decay=s.weight_decay,
        betas=(0.9, s.adam_beta2),
        embedding_learning_rate=s.embedding_learning_rate,
    )
