"""Attention over tries laid end to end in one row, for processors without a sparse kernel of their own.

A dense mask over a padded batch spends most of its work on what nobody sees: padding, other tries, the future. Here all tries
of a pack stand in one row, which is walked in blocks of queries; each multiplies with the keys from the start of its first
query's trie up to the block's own end only. Matrix products run in the model's precision, the softmax in float32.

It is registered with transformers as an attention implementation. The mask a model is given is a placeholder without memory that
carries the blocks; any other mask goes to the implementation the model had before, so sampling is untouched. Whether a
model passes the placeholder through to its attention is for ``halign.probe`` to find out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from halign.reading import attending

NAME = "halign_trie"
QUERIES = 128
"""Queries per block: fewer skip more of the future, more make better products."""
KEYS = 64
"""A block's keys begin at a multiple of this, so that packs make do with few shapes of products (``trie.FLAT_MULTIPLE``)."""
PICKED = 0.75
"""Keys are picked out where that leaves at most this share of them: copying them costs something."""
KEPT_BYTES = 256 * 1024 * 1024
"""Attention weights of one layer are kept for the backward pass up to this size, else made again."""


@dataclass(frozen=True)
class Block:
    """Queries [first, last) see keys [start, end) through an additive mask; or, where ``keys`` says which, those alone.

    Attributes:
        mask: [last - first, keys], zero or minus infinity.
        keys: int64, places in the row; None: [start, end).
    """

    start: int
    end: int
    first: int
    last: int
    mask: Tensor
    keys: Tensor | None = None

    def of(self, x: Tensor) -> Tensor:
        """The block's keys, or their values, out of those of the row [H, T, D]; contiguous, since a product of a transposed slice
        would make its copy element by element."""
        own = x[:, self.start : self.end] if self.keys is None else x.index_select(1, self.keys)
        return own.contiguous()

    def add_(self, total: Tensor, own: Tensor) -> None:
        """Add what belongs to the block's keys to what belongs to those of the row [H, T, D]."""
        if self.keys is None:
            total[:, self.start : self.end] += own
        else:
            total.index_add_(1, self.keys, own.to(total.dtype))


def build_blocks(
    subtree_end: Tensor,
    position_ids: Tensor,
    segments: tuple[tuple[int, int], ...],
    *,
    window: int | None = None,
    chunk: int | None = None,
    dtype: torch.dtype = torch.float32,
    picked: bool = False,
    rows: Tensor | None = None,
) -> tuple[Block, ...]:
    """Blocks of a flat row.

    Args:
        subtree_end, position_ids: int64 [T]; ends are counted in the row.
        segments: (start, length) of each trie, end to end from 0.
        window, chunk: as in ``halign.trie.visible``.
        picked: pick out the keys that a block can see, where they are few among those it would multiply with otherwise.
        rows: int64 [N], increasing; the places in the row that are queries, whose blocks then count in ``rows``. None: all.
    """
    blocks = []
    row = torch.arange(len(subtree_end), device=subtree_end.device)
    places = row if rows is None else rows
    starts = [start for start, _ in segments] + [sum(length for _, length in segments)]  # the last: padding
    for first in range(0, len(places), QUERIES):
        own = places[first : first + QUERIES]
        begin, end = int(own[0]), min(-(-(int(own[-1]) + 1) // KEYS) * KEYS, len(row))
        start = starts[bisect_right(starts, begin) - 1] // KEYS * KEYS
        keys = _visible_keys(subtree_end, start, begin, end) if picked else None
        place = slice(start, end) if keys is None else keys
        query, key = own[:, None], row[None, place]
        seen = (key <= query) & (query < subtree_end[None, place])
        if window is not None:
            seen &= position_ids[own, None] - position_ids[None, place] < window
        if chunk is not None:
            seen &= position_ids[own, None] // chunk == position_ids[None, place] // chunk
        mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
        blocks.append(Block(start, end, first, first + len(own), mask, keys))
    return tuple(blocks)


def _visible_keys(subtree_end: Tensor, start: int, first: int, last: int) -> Tensor | None:
    """What queries [first, last) can see: the block itself, and before it the path to its first token. (The subtrees of all that
    stands there besides have ended.) Filled up to a multiple of ``KEYS`` from the places just before, which the mask hides. None
    where that is no great saving over [start, last)."""
    ahead = subtree_end[start:first] > first
    wanted = -(-(int(ahead.sum()) + last - first) // KEYS) * KEYS
    if wanted > PICKED * (last - start):
        return None
    surplus = wanted - int(ahead.sum()) - (last - first)
    ahead[(~ahead).nonzero()[len(ahead) - int(ahead.sum()) - surplus :, 0]] = True
    own = torch.arange(first, last, device=ahead.device)
    return torch.cat([ahead.nonzero()[:, 0] + start, own])


def placeholder(
    length: int,
    blocks: tuple[Block, ...],
    device: torch.device,
    blocks_at: Callable[[Tensor], tuple[Block, ...]] | None = None,
) -> Tensor:
    """A [1, 1, T, T] mask of one element, expanded, that carries the blocks to the attention layers.

    Args:
        blocks_at: makes the blocks of ``build_blocks(rows=)``, for a layer that is used at some positions alone.
    """
    mask = torch.zeros((), dtype=torch.bool, device=device).expand(1, 1, length, length)
    mask.halign_blocks, mask.halign_blocks_at = blocks, blocks_at  # type: ignore[attr-defined]
    return mask


class _TrieAttention(torch.autograd.Function):
    """softmax(q k^T + mask) v by blocks; q is scaled already. q [H, N, D], k and v [H, T, D], the result [N, H, D]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: tuple[Block, ...]) -> Tensor:
        heads, length, _ = q.shape
        out = torch.empty(length, heads, v.shape[-1], dtype=v.dtype, device=v.device)
        size = sum(b.mask.numel() for b in blocks) * heads * q.element_size()
        keep = size <= KEPT_BYTES and any(ctx.needs_input_grad[:3])
        kept = []
        for b in blocks:
            weights = _weights(q, k, b)
            out[b.first : b.last] = torch.bmm(weights, b.of(v)).transpose(0, 1)
            if keep:
                kept.append(weights)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.blocks = blocks
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        q, k, v, *kept = ctx.saved_tensors
        grad = grads[0].transpose(0, 1)
        d_q = torch.empty_like(q)
        d_k, d_v = (torch.zeros(x.shape, dtype=torch.float32, device=x.device) for x in (k, v))
        for number, b in enumerate(ctx.blocks):
            weights = kept[number] if kept else _weights(q, k, b)
            queries = slice(b.first, b.last)
            d_out = grad[:, queries].contiguous()
            b.add_(d_v, torch.bmm(weights.transpose(1, 2), d_out))
            d_weights = torch.bmm(d_out, b.of(v).transpose(1, 2))
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, q.dtype)
            d_q[:, queries] = torch.bmm(d_scores, b.of(k))
            b.add_(d_k, torch.bmm(d_scores.transpose(1, 2), q[:, queries]))
        return d_q, d_k.to(k.dtype), d_v.to(v.dtype), None


def _weights(q: Tensor, k: Tensor, b: Block) -> Tensor:
    scores = torch.bmm(q[:, b.first : b.last], b.of(k).transpose(1, 2)).add_(b.mask)
    return torch.softmax(scores, -1)  # in float32 whatever the dtype it is read and written in


def trie_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention interface of transformers: query [B, H, T, D], key and value [B, G, T, D] -> [B, T, H, D]. Inside
    ``reading.attend``, only the rows said there; the others are zero.

    Raises:
        NotImplementedError: for what this attention does not do (dropout, soft-capped scores, sinks, a mask that lost its
            blocks); the probe meets it first and chooses another way.
    """
    blocks = getattr(attention_mask, "halign_blocks", None)
    if blocks is None:
        if attention_mask is not None and not any(attention_mask.stride()):
            raise NotImplementedError("the model copies its mask")
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    unsupported = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if dropout or unsupported or len(query) != 1:
        raise NotImplementedError(f"trie attention without {', '.join(unsupported) or 'dropout or batches'}")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    kind = query.device.type
    # rotary embeddings leave float32 behind; autocast would cast for SDPA, so here too
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else value.dtype
    reading, blocks_at = attending(), getattr(attention_mask, "halign_blocks_at", None)
    rows, asked = None, query[0]
    if reading is not None and blocks_at is not None:
        rows = reading.rows
        asked, blocks = asked.index_select(1, rows), blocks_at(rows)
    q, k, v = (
        (x * s if s != 1 else x).to(dtype).contiguous()
        for x, s in ((asked, scale), (key[0], 1), (value[0], 1))
    )
    out: Tensor = _TrieAttention.apply(q, k, v, blocks)
    if rows is not None:  # the model counts on all rows
        out = out.new_zeros(query.shape[2], *out.shape[1:]).index_copy(0, rows, out)
    return out[None], None


def register() -> None:
    """Make the implementation known to transformers; masks other than ours are made as for SDPA."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, trie_attention_forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)


register()
