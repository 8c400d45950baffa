"""How a model is told who sees whom: one 4-D mask, a dict of masks per layer type, or none (separate paths).

Which of these a model honours is measured by ``halign.probe``; nothing here decides by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from halign.trie import TreeBatch, visible
from halign.trie_attention import build_blocks, placeholder

Shape = Literal["one", "by_type", "separate"]
Kernel = Literal["trie", "dense"]


@dataclass(frozen=True)
class Reach:
    """How far back a layer sees on its path: everything, a sliding window, or its own chunk (tokens)."""

    window: int | None = None
    chunk: int | None = None


@dataclass(frozen=True)
class MaskScheme:
    """How masks are handed to a model.

    Attributes:
        shape: ``one`` 4-D mask, ``by_type`` a dict of them by layer type, or ``separate``: the model gets none of our masks,
            so every row has to be a single path.
        layers: layer type -> reach; a single entry when ``shape`` is ``one``.
        kernel: ``trie`` walks tries laid end to end in one row (``halign.trie_attention``); ``dense`` takes a mask over padded
            rows, one trie each, with the model's own attention.
    """

    shape: Shape
    layers: Mapping[str, Reach]
    kernel: Kernel = "dense"

    @property
    def shares(self) -> bool:
        """True if rows may branch."""
        return self.shape != "separate"

    def describe(self) -> str:
        """One phrase for logs."""
        if not self.shares:
            return "separate paths"
        masks = {"one": "one mask", "by_type": "a mask per layer type"}[self.shape]
        return f"{masks}, {'trie attention' if self.kernel == 'trie' else 'dense attention'}"


SEPARATE = MaskScheme("separate", {})

_REACH_BY_TYPE = {
    "full_attention": lambda config: Reach(),
    "attention": lambda config: Reach(),
    "sliding_attention": lambda config: Reach(window=config.sliding_window),
    "chunked_attention": lambda config: Reach(chunk=config.attention_chunk_size),
}


def candidate_schemes(config: Any) -> list[MaskScheme]:
    """Schemes worth probing for a configuration, likeliest first."""
    candidates = []
    types = list(dict.fromkeys(getattr(config, "layer_types", None) or []))
    if types and all(t in _REACH_BY_TYPE for t in types):
        layers = {t: _REACH_BY_TYPE[t](config) for t in types}
        # a model may look up a type that it has no layer of
        candidates.append(MaskScheme("by_type", {"full_attention": Reach(), **layers}))
        if len(types) == 1:
            candidates.append(MaskScheme("one", layers))
    window = getattr(config, "sliding_window", None)
    if window:
        candidates.append(MaskScheme("one", {"sliding_attention": Reach(window=window)}))
    candidates.append(MaskScheme("one", {"full_attention": Reach()}))
    return candidates


def model_masks(
    scheme: MaskScheme, batch: TreeBatch, *, additive: bool, dtype: torch.dtype
) -> Tensor | dict[str, Tensor] | None:
    """The ``attention_mask`` argument for a batch: [B, 1, T, T] per entry, bool, or additive for eager attention; for a flat
    batch the placeholders that ``halign.trie_attention`` understands.

    None for rows that do not branch: the model's own causal attention is then the same, and faster.
    """
    if batch.causal:
        return None
    masks: dict[Reach, Tensor] = {}
    for reach in scheme.layers.values():
        if reach not in masks:
            masks[reach] = (
                _trie_mask(batch, reach, dtype)
                if batch.segments
                else _dense_mask(batch, reach, additive, dtype)
            )
    if scheme.shape == "by_type":
        return {name: masks[reach] for name, reach in scheme.layers.items()}
    return next(iter(masks.values()))


def _trie_mask(batch: TreeBatch, reach: Reach, dtype: torch.dtype) -> Tensor:
    blocks = partial(
        build_blocks,
        batch.subtree_end[0],
        batch.position_ids[0],
        batch.segments,
        window=reach.window,
        chunk=reach.chunk,
        dtype=dtype,
        picked=batch.picked,
    )
    return placeholder(batch.input_ids.shape[1], blocks(), batch.input_ids.device, lambda r: blocks(rows=r))


def _dense_mask(batch: TreeBatch, reach: Reach, additive: bool, dtype: torch.dtype) -> Tensor:
    mask = visible(batch.subtree_end, batch.position_ids, window=reach.window, chunk=reach.chunk)
    if batch.hidden is not None:
        mask &= ~batch.hidden[:, None]
    return _additive(mask, dtype) if additive else mask


def hide_past(batch: TreeBatch, shares: tuple[float, float], seed: tuple[int, ...]) -> TreeBatch:
    """The batch with random (query, key) pairs hidden from attention, the same in all heads and layers (arXiv 2302.02676).

    Each row draws the share it hides, uniformly from ``shares``; then each pair is hidden by itself with that probability. Every
    token goes on seeing the first token of its path, and itself. (The paper's released code keeps only the former; a token that
    a sliding window keeps from its path's beginning could then see nothing at all.)

    Args:
        batch: of rows; a flat batch has no mask to hide anything in.
        shares: the least and the most, in [0, 1).
        seed: integers that the draw depends on, and nothing else.
    """
    assert not batch.segments, "flat rows have no dense mask"
    rows, width = batch.input_ids.shape
    device = batch.input_ids.device
    words = np.random.SeedSequence(seed).generate_state(2)
    generator = torch.Generator(device).manual_seed(int(words[0]) << 31 | int(words[1]) >> 1)
    least, most = shares
    share = least + (most - least) * torch.rand(rows, 1, 1, generator=generator, device=device)
    hidden = torch.rand(rows, width, width, generator=generator, device=device) < share
    roots = batch.position_ids == 0
    hidden &= ~roots[:, None, :] & ~torch.eye(width, dtype=torch.bool, device=device)
    return replace(batch, hidden=hidden, causal=False)


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(
        ~mask, torch.finfo(dtype).min
    )
