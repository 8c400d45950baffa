"""Packs side by side: each is taken through the model by one thread, instead of every product by all of them.

Threads that share each product wait for each other thousands of times a step, and a small model's products do not get twice as
fast with twice the threads; threads with a pack each wait once (docs/log.md). What is computed of a pack does not depend on which
others are in flight, and results are taken in the order of the packs, so bits do not hang on which thread was faster.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor, nn

from halign.errors import HalignError

MODEL_BYTES = 512 * 1024 * 1024
"""Lanes times the size of the model: each holds gradients and converted weights of its own. A larger model's products keep all
threads busy by themselves."""
CHANGING_ROPE = {"dynamic", "longrope"}
"""Rotary embeddings that change their frequencies with the length of what they are given, for all threads."""

T = TypeVar("T")
R = TypeVar("R")


def lanes_for(model: nn.Module) -> int:
    """How many packs had better go through a model at once: on a CPU as many as torch has threads, where it is small."""
    parameters = list(model.parameters())
    if any(p.device.type != "cpu" for p in parameters) or _keeps_notes(model):
        return 1
    size = sum(p.numel() * p.element_size() for p in parameters)
    return max(1, min(torch.get_num_threads(), MODEL_BYTES // max(size, 1)))


def _keeps_notes(model: nn.Module) -> bool:
    """True if a forward pass leaves something in the model that another one would read."""
    kinds = (getattr(module, "rope_type", None) for module in model.modules())
    return any(CHANGING_ROPE & set(k.values() if isinstance(k, dict) else [k]) for k in kinds)


class Lanes:
    """Threads that work side by side, each with its share of the processor threads that torch may use.

    Args:
        count: how many; with one, everything is done by the thread that asks.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._pool = _started(count) if count > 1 else None

    def map(self, do: Callable[[T], R], things: Sequence[T]) -> Iterator[R]:
        """``do`` of each thing, in their order, with gradients on or off as they are for who asks. One thing alone is done by who
        asks, with all threads.

        What autocast converts of the weights serves all of them. The first failure is raised; what was not begun by then is
        left undone.
        """
        if self._pool is None or len(things) == 1:
            yield from map(do, things)
            return
        enabled = torch.is_grad_enabled()

        def one(thing: T) -> R:
            torch.autocast_increment_nesting()  # or whoever leaves autocast first takes the others' converted weights away
            try:
                with torch.set_grad_enabled(enabled):
                    return do(thing)
            finally:
                torch.autocast_decrement_nesting()

        try:
            yield from self._pool.map(one, things)
        finally:
            torch.clear_autocast_cache()


def _started(count: int) -> ThreadPoolExecutor:
    """A pool all of whose threads run and know their share; whoever asks keeps the number of threads that it had."""
    before = torch.get_num_threads()
    everyone = threading.Barrier(count)

    def begin() -> None:
        torch.set_num_threads(max(1, before // count))
        torch.get_num_threads()  # at its first question a thread takes the number last set anywhere: it has to be this one
        everyone.wait()

    pool = ThreadPoolExecutor(count, "lane", initializer=begin)
    list(pool.map(lambda _: None, range(count)))
    torch.set_num_threads(before)
    return pool


def lanes_of(model: nn.Module, asked: int | None, in_turn: Mapping[str, object]) -> Lanes:
    """Lanes for a run.

    Args:
        asked: how many the user wants; None: what is fast.
        in_turn: by its name, what makes packs go one after the other: something drawn at random in the order of asking, a
            reference that is read between, ranks, which are at once already.

    Raises:
        HalignError: if more than one is asked for where that has no effect.
    """
    why = next((name for name, holds in in_turn.items() if holds), None)
    if why and (asked or 1) > 1:
        raise HalignError(f"lanes would have no effect: with {why} packs are computed one after the other")
    return Lanes(1 if why else asked or lanes_for(model))


class GradientSum:
    """Adds packs' gradients to those of the parameters in the order of the packs, whichever comes first."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self._next = 0
        self._early: dict[int, Sequence[Tensor | None]] = {}
        self._lock = threading.Lock()

    def add(self, number: int, gradients: Sequence[Tensor | None]) -> None:
        """Those of the pack with this number, from 0: one for each parameter, None where it has no part in the loss."""
        with self._lock:
            self._early[number] = gradients
            while self._next in self._early:
                self._add(self._early.pop(self._next))
                self._next += 1

    @torch.no_grad()
    def _add(self, gradients: Sequence[Tensor | None]) -> None:
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is None:
                parameter.grad = gradient
            else:
                parameter.grad += gradient
