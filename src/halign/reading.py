"""Which positions of a pass will be read, said to the layers for as long as the pass takes.

It is said by way of a context variable, so that threads that run the same module at the same time do not hear of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import torch
from torch import Tensor

MULTIPLE = 64
"""Positions are filled up to a multiple of this: libraries compile a kernel for every new shape of a product
(``trie.FLAT_MULTIPLE``)."""


class Reading:
    """The positions that one pass is read at.

    Attributes:
        rows: int64 [N]; flat positions (row * T + column), those asked for and then some that fill up.
        picked: True once a layer has given hidden states of ``rows`` alone, [1, N, d] in place of [B, T, d].
    """

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows
        self.picked = False

    def pick(self, x: Tensor) -> Tensor:
        """What stands at ``rows`` in [B, T, d]: [1, N, d]."""
        return x.reshape(-1, x.shape[-1]).index_select(0, self.rows)[None]


_READING: ContextVar[Reading | None] = ContextVar("reading", default=None)


def current() -> Reading | None:
    """What the pass is read at that runs in this thread; None if everything may be read."""
    return _READING.get()


def hidden_at(run: Callable[[], Tensor], at: Tensor) -> Tensor:
    """Hidden states at flat positions, [M, d].

    Args:
        run: makes a pass, which gives hidden states of all positions [B, T, d], or of those said to its layers (``Reading``).
        at: int64 [M], in any order, also repeatedly.
    """
    reading = Reading(_filled(at))
    token = _READING.set(reading)
    try:
        hidden = run()
    finally:
        _READING.reset(token)
    flat = hidden.reshape(-1, hidden.shape[-1])
    return flat[: len(at)] if reading.picked else flat[at]


def _filled(at: Tensor) -> Tensor:
    """At least one position, so that even where none is read all weights have a gradient."""
    count = max(1, -(-len(at) // MULTIPLE)) * MULTIPLE
    return torch.cat([at, at.new_zeros(count - len(at))])
