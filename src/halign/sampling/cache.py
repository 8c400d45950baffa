"""A key-value cache that does not copy itself at every token.

transformers' ``DynamicLayer`` concatenates: each new token copies all keys and values so far, which for a
small model costs more than the model itself. Here they are written into a buffer with room to grow, and
attention sees a view.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class RoomyLayer(DynamicLayer):
    """Keys and values [B, heads, tokens, dim] as views of buffers with room for ``room`` tokens more at a
    time.
    """

    keys: Tensor  # the base class sets them to None until the first update
    values: Tensor

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.buffers: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if self.buffers is None or self.buffers[0].shape[-2] < new:
            self.buffers = (
                self._roomier(self.keys, key_states, new),
                self._roomier(self.values, value_states, new),
            )
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, old:new] = states
        self.keys, self.values = (b[:, :, :new] for b in self.buffers)
        return self.keys, self.values

    def _roomier(self, old: Tensor, states: Tensor, length: int) -> Tensor:
        batch, heads, _, dim = states.shape
        buffer = states.new_empty(batch, heads, length + self.room, dim)
        if old.numel():
            buffer[:, :, : old.shape[-2]] = old
        return buffer

    def align_right(self, lengths: Tensor, dtype: torch.dtype) -> None:
        """See the function of the same name."""
        width = self.keys.shape[-2]
        source = torch.arange(width, device=self.keys.device) - (width - lengths[:, None])
        index = source.clamp(min=0)[:, None, :, None]
        fresh = []
        for states in (self.keys, self.values):
            buffer = states.new_empty(*states.shape[:2], width + self.room, states.shape[-1], dtype=dtype)
            buffer[:, :, :width] = states.gather(2, index.expand_as(states))
            fresh.append(buffer)
        self.buffers = (fresh[0], fresh[1])
        self.keys, self.values = (b[:, :, :width] for b in self.buffers)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows, and room to go on."""
        if self.buffers is not None:
            n = self.keys.shape[-2]
            self.buffers = (self.buffers[0][indices], self.buffers[1][indices])
            self.keys, self.values = (b[:, :, :n] for b in self.buffers)


def roomy_cache(config: Any, room: int) -> DynamicCache:
    """The cache that ``config`` asks for, with its plain layers replaced by roomy ones (sliding windows
    stay).
    """
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def select_rows(cache: DynamicCache, rows: Tensor) -> None:
    """Keep only these rows of every layer."""
    for layer in cache.layers:
        if hasattr(layer, "batch_select_indices"):
            layer.batch_select_indices(rows)
        else:
            layer.reorder_cache(rows)  # type: ignore[arg-type]


def is_plain(cache: DynamicCache) -> bool:
    """True if every layer attends to everything before it, so that one mask serves all."""
    return bool(cache.layers) and all(isinstance(layer, RoomyLayer) for layer in cache.layers)


def align_right(cache: DynamicCache, lengths: Tensor, dtype: torch.dtype) -> None:
    """Move each row's first ``lengths[row]`` entries to the right end, as ``dtype``; the mask hides what is
    left of them.
    """
    for layer in cache.layers:
        assert isinstance(layer, RoomyLayer)
        layer.align_right(lengths, dtype)
