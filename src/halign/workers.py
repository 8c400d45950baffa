"""Packs side by side on a CPU: each thread computes a pack of its own with its share of the processor's threads.

Most operations of a small model are too short to be split over several processor threads, and those that are split end by waiting
for each other; whole packs need not wait. PyTorch lets go of Python's lock inside every operation, so threads will do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
SMALL = 50_000_000
"""Trained parameters up to which packs are computed side by side by default: every worker holds a gradient of its own, and the
operations of larger models are long enough to be split."""
DEFAULT = 2


def suitable(count: int | None, model: nn.Module) -> int:
    """How many workers: what was asked for, or by default ``DEFAULT`` for small models, never more than processor threads."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    wanted = count or (DEFAULT if trained <= SMALL else 1)
    return min(wanted, torch.get_num_threads())


class Workers:
    """A context of ``count`` threads; with a count of one everything happens where it is called."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.count > 1:
            threads = torch.get_num_threads()
            started = Barrier(self.count + 1)

            def start() -> None:
                torch.set_num_threads(max(1, threads // self.count))
                started.wait()

            self._pool = ThreadPoolExecutor(self.count, "halign-pack", initializer=start)
            for _ in range(self.count):
                self._pool.submit(int)
            started.wait()
            torch.set_num_threads(threads)  # threads that come later take what was set last
        return self

    def __exit__(self, *exc: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, work: Callable[..., T], *columns: Sequence[Any]) -> Iterator[T]:
        """``work`` of every row, in order, with gradients recorded where the caller records them."""
        if self._pool is None or len(columns[0]) < 2:
            yield from map(work, *columns)
            return
        recorded = torch.is_grad_enabled()

        def task(*row: Any) -> T:
            with torch.set_grad_enabled(recorded):
                return work(*row)

        yield from self._pool.map(task, *columns)


ALONE = Workers(1)
"""No threads: everything happens where it is called."""


def add_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Add to ``.grad``, as a backward pass would. The gradients are taken over, not copied, unless two are one tensor
    (those of two parameters that are added to each other)."""
    taken: set[int] = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            continue
        if parameter.grad is not None:
            parameter.grad += gradient
            continue
        parameter.grad = gradient.clone() if gradient.data_ptr() in taken else gradient
        taken.add(gradient.data_ptr())
