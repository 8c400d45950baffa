"""The last decoder layer at the positions that are read, and nowhere else.

All other positions matter to it as keys and values only; nobody uses its output there. So everything after attention (residual,
norms, feed-forward layer, the backbone's final norm) is computed where a scorer reads, which is less than half of the tokens.
Whether a layer can do so is measured: its children are joined as decoder layers usually are, and the model's hidden states must
then be its own on a random batch. All other models are left alone, as is every pass of which nobody says where it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from halign.probe import probe_paths
from halign.reading import Reading, current
from halign.scoring import Scorer, backbone, unwrap
from halign.trie import TreeBatch, tree_batch

_CLOSE = 1e-5
"""Largest relative difference of a position's hidden state that passes as rounding (of float32 weights; in half precision none
could be told from a small mistake)."""
_VOCABULARY = 64

Norms = tuple[str | None, str | None, str | None, str | None]
_ORDERS: tuple[Norms, ...] = (
    ("input_layernorm", None, "post_attention_layernorm", None),
    (
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ),
    (None, "post_attention_layernorm", None, "post_feedforward_layernorm"),
)
"""Which norms stand before and after attention, before and after the feed-forward layer."""


def read_last_layer(scorer: Scorer) -> Callable[[], None]:
    """Let the last layer of a scorer's model compute only what the scorer reads, in place, if that changes no number; a function
    that undoes it. To be called once the model is as it will be trained: adapters on it, dropout off, in training mode."""
    layer = _last_layer(scorer.model)
    norms = None if layer is None else _order(layer)
    if layer is None or norms is None:
        return lambda: None
    batch = _random_batch(scorer)
    expected = _outcome(scorer, batch)
    layer.forward = MethodType(_forward(layer, norms), layer)

    def undo() -> None:
        del layer.forward

    if not _same(_outcome(scorer, batch), expected):
        undo()
        return lambda: None
    return undo


def _last_layer(model: nn.Module) -> nn.Module | None:
    """The last of the backbone's layers; None where it is not for us to replace its forward."""
    try:
        layers = getattr(backbone(model), "layers", None)
    except TypeError:
        return None
    if not isinstance(layers, nn.ModuleList) or not len(layers) or "forward" in vars(layers[-1]):
        return None
    if any(p.dtype != torch.float32 for p in model.parameters()):
        return None
    checkpointed = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    if checkpointed and not _checkpoints_itself(layers[-1]):
        return None
    return layers[-1]


def _checkpoints_itself(layer: nn.Module) -> bool:
    """Is it the layer's own forward that is made again in the backward pass? Then the positions go with it. What stands around
    it would call it again when nobody says the positions any more."""
    known = hasattr(layer, "gradient_checkpointing") and hasattr(layer, "_gradient_checkpointing_func")
    return known and type(layer).__call__ is nn.Module.__call__


def _order(layer: nn.Module) -> Norms | None:
    """The norms by which the layer may be joined: all that has weights must be among its parts, since a weight that happens to
    change nothing now will be trained."""
    if [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
        return None
    silent = (nn.Dropout, nn.Identity)
    names = {n for n, child in layer.named_children() if not (isinstance(child, silent) and _is_off(child))}
    wanted = ({"self_attn", "mlp", *(n for n in order if n)} for order in _ORDERS)
    return next((o for o, w in zip(_ORDERS, wanted, strict=True) if w == names), None)


def _is_off(child: nn.Module) -> bool:
    return not getattr(child, "p", 0.0)


def _forward(layer: nn.Module, norms: Norms) -> Callable[..., Any]:
    plain = type(layer).forward

    def forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        reading = current()
        if reading is None or args or kwargs.get("past_key_values") is not None:
            return plain(self, hidden_states, *args, **kwargs)
        reading.picked = True
        compute = partial(_at_rows, self, norms, reading, kwargs)
        if self.training and getattr(self, "gradient_checkpointing", False):
            return self._gradient_checkpointing_func(compute, hidden_states)
        return compute(hidden_states)

    return forward


def _at_rows(layer: Any, norms: Norms, reading: Reading, kwargs: dict[str, Any], x: Tensor) -> Tensor:
    """The layer's output at the rows read, [1, N, d], from its input [B, T, d]."""
    before, after, before_ff, after_ff = (getattr(layer, n) if n else _as_it_is for n in norms)
    attended = layer.self_attn(hidden_states=before(x), **kwargs)[0]
    x = reading.pick(x) + after(reading.pick(attended))
    return x + after_ff(layer.mlp(before_ff(x)))


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _random_batch(scorer: Scorer) -> TreeBatch:
    """Tries that branch, as the scorer takes them, of random tokens."""
    model = unwrap(scorer.model)
    paths = probe_paths(min(_VOCABULARY, model.get_input_embeddings().num_embeddings))
    if scorer.scheme.shares:
        batch = tree_batch(
            [paths[:2] + paths[3:], paths[2:3] + paths[:3]], flat=scorer.scheme.kernel == "trie"
        )
    else:
        batch = tree_batch([[path] for path in paths])
    return batch.to(next(model.parameters()).device)


def _outcome(scorer: Scorer, batch: TreeBatch) -> Tensor | None:
    """Hidden states where the batch is read [M, d], with adapters' dropout off; None if there are none to be had."""
    dropouts = [m for m in scorer.model.modules() if isinstance(m, nn.Dropout) and m.training]
    for module in dropouts:
        module.training = False
    try:
        return scorer.hidden(batch, batch.read_at).float()
    except Exception:  # whatever a model does that is not what it looks like
        return None
    finally:
        for module in dropouts:
            module.training = True


def _same(found: Tensor | None, expected: Tensor | None) -> bool:
    if found is None or expected is None or found.shape != expected.shape:
        return False
    return bool(((found - expected).norm(dim=-1) <= _CLOSE * expected.norm(dim=-1)).all())
