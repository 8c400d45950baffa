"""Which positions of a pass will be read, said to the layers for as long as the pass takes.

It is said by way of a context variable, so that threads that run the same module at the same time do not hear of each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

MULTIPLE = 64
"""Positions are filled up to a multiple of this: libraries compile a kernel for every new shape of a product
(``trie.FLAT_MULTIPLE``)."""


class Reading:
    """The positions that one pass is read at.

    Args:
        at: int64 [M]; flat positions (row * T + column) in any order, also repeatedly.
        positions: B * T.

    Attributes:
        rows: int64 [N]; those positions and some more that fill up, each once, increasing. At least one, so that even where
            none is read all weights have a gradient.
        places: int64 [M]; where in ``rows`` those asked for are.
        picked: True once a layer has given hidden states of ``rows`` alone, [1, N, d] in place of [B, T, d].
    """

    def __init__(self, at: Tensor, positions: int) -> None:
        among = torch.zeros(positions, dtype=torch.bool, device=at.device)
        among[at] = True
        count = int(among.sum())
        among[(~among).nonzero()[: max(1, -(-count // MULTIPLE)) * MULTIPLE - count, 0]] = True
        self.rows = among.nonzero()[:, 0]
        self.places = (among.cumsum(0) - 1)[at]
        self.picked = False

    def pick(self, x: Tensor) -> Tensor:
        """What stands at ``rows`` in [B, T, d]: [1, N, d]."""
        return x.reshape(-1, x.shape[-1]).index_select(0, self.rows)[None]

    def spread(self, x: Tensor, *shape: int) -> Tensor:
        """[1, N, d] at ``rows`` of [*shape, d], zero elsewhere."""
        whole = x.new_zeros(math.prod(shape), x.shape[-1])
        return whole.index_copy(0, self.rows, x[0]).view(*shape, x.shape[-1])


_READING: ContextVar[Reading | None] = ContextVar("reading", default=None)
_ATTENDING: ContextVar[Reading | None] = ContextVar("attending", default=None)


def current() -> Reading | None:
    """What the pass is read at that runs in this thread; None if everything may be read."""
    return _READING.get()


def attending() -> Reading | None:
    """The same, inside an attention whose output is used at these positions alone; None in all others."""
    return _ATTENDING.get()


@contextmanager
def attend(reading: Reading | None) -> Iterator[None]:
    """For the time of one attention: of its output these positions alone will be used."""
    token = _ATTENDING.set(reading)
    try:
        yield
    finally:
        _ATTENDING.reset(token)


def hidden_at(run: Callable[[], Tensor], at: Tensor, positions: int) -> Tensor:
    """Hidden states at flat positions, [M, d].

    Args:
        run: makes a pass, which gives hidden states of all positions [B, T, d], or of those said to its layers (``Reading``).
        at: int64 [M], in any order, also repeatedly.
        positions: B * T.
    """
    reading = Reading(at, positions)
    token = _READING.set(reading)
    try:
        hidden = run()
    finally:
        _READING.reset(token)
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, reading.places if reading.picked else at)
