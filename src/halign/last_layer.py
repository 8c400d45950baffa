"""The last decoder layer at the positions that are read, and nowhere else.

All other positions matter to it as keys and values only; nobody uses its output there. So queries, attention and everything
after it (residual, norms, feed-forward layer, the backbone's final norm) are computed where a scorer reads, which is less than
half of the tokens. Whether a layer can do so is measured: its children are joined as decoder layers usually are, and the model's
hidden states must then be its own on a random batch; if they are not, the same without restricting attention. All other models
are left alone, as is every pass of which nobody says where it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from halign.lean import outcome
from halign.probe import probe_paths
from halign.reading import Reading, attend, attending, current
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
    for replaced in (_with_queries(layer, norms), _without_queries(layer, norms)):
        for module, forward in replaced:
            module.forward = MethodType(forward, module)
        undo = partial(_undo, [module for module, _ in replaced])
        if _same(_outcome(scorer, batch), expected):
            return undo
        undo()
    return lambda: None


def _undo(changed: list[nn.Module]) -> None:
    for module in changed:
        del module.forward


Replaced = list[tuple[nn.Module, Callable[..., Any]]]
"""Modules, and what is to be their forward."""


def _without_queries(layer: nn.Module, norms: Norms) -> Replaced:
    return [(layer, _layer_forward(layer, norms, False))]


def _with_queries(layer: Any, norms: Norms) -> Replaced:
    """With attention restricted too, where it has projections of queries and of the output that are modules."""
    queries, output = (getattr(layer.self_attn, name, None) for name in ("q_proj", "o_proj"))
    if not (_is_free(queries) and _is_free(output)):
        return _without_queries(layer, norms)
    return [
        (layer, _layer_forward(layer, norms, True)),
        (queries, _query_forward(queries)),
        (output, _output_forward(output)),
    ]


def _is_free(module: Any) -> TypeGuard[nn.Module]:
    """A module whose forward nobody has replaced."""
    return isinstance(module, nn.Module) and "forward" not in vars(module)


def _last_layer(model: nn.Module) -> nn.Module | None:
    """The last of the backbone's layers; None where it is not for us to replace its forward."""
    try:
        layers = getattr(backbone(model), "layers", None)
    except TypeError:
        return None
    if not isinstance(layers, nn.ModuleList) or not len(layers) or not _is_free(layers[-1]):
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


def _layer_forward(layer: nn.Module, norms: Norms, queries: bool) -> Callable[..., Any]:
    """The layer's forward that hears of positions. ``queries``: so do the ends of its attention."""
    plain = type(layer).forward

    def forward(self: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        reading = current()
        if reading is None or args or kwargs.get("past_key_values") is not None:
            return plain(self, hidden_states, *args, **kwargs)
        reading.picked = True
        compute = partial(_at_rows, self, norms, reading, queries, kwargs)
        if self.training and getattr(self, "gradient_checkpointing", False):
            return self._gradient_checkpointing_func(compute, hidden_states)
        return compute(hidden_states)

    return forward


def _at_rows(
    layer: Any, norms: Norms, reading: Reading, queries: bool, kwargs: dict[str, Any], x: Tensor
) -> Tensor:
    """The layer's output at the rows read, [1, N, d], from its input [B, T, d]."""
    before, after, before_ff, after_ff = (getattr(layer, n) if n else _as_it_is for n in norms)
    with attend(reading if queries else None):
        attended = layer.self_attn(hidden_states=before(x), **kwargs)[0]
    x = reading.pick(x) + after(attended if queries else reading.pick(attended))
    return x + after_ff(layer.mlp(before_ff(x)))


def _query_forward(module: nn.Module) -> Callable[..., Tensor]:
    """Queries [B, T, d] of the rows read, zero elsewhere: the attention around it counts on all rows."""
    plain = type(module).forward

    def forward(self: Any, x: Tensor) -> Tensor:
        reading = attending()
        if reading is None:
            return plain(self, x)
        return reading.spread(plain(self, reading.pick(x)), *x.shape[:-1])

    return forward


def _output_forward(module: nn.Module) -> Callable[..., Tensor]:
    """The projection of attention's output [B, T, d] at the rows read: [1, N, d]."""
    plain = type(module).forward

    def forward(self: Any, x: Tensor) -> Tensor:
        reading = attending()
        return plain(self, x if reading is None else reading.pick(x))

    return forward


def _as_it_is(x: Tensor) -> Tensor:
    return x


def _random_batch(scorer: Scorer) -> TreeBatch:
    """Tries that branch, as the scorer takes them, of random tokens."""
    model = unwrap(scorer.model)
    paths = probe_paths(min(_VOCABULARY, model.config.get_text_config().vocab_size))
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
        return outcome(lambda: scorer.hidden(batch, batch.read_at).float())
    finally:
        for module in dropouts:
            module.training = True


def _same(found: Tensor | None, expected: Tensor | None) -> bool:
    if found is None or expected is None or found.shape != expected.shape:
        return False
    return bool(((found - expected).norm(dim=-1) <= _CLOSE * expected.norm(dim=-1)).all())
