"""What an objective may declare about itself beyond its signature.

An objective is a function ``f(items, *, settings...) -> Tensor`` of unreduced losses. The annotation of its first argument says
what one item is, the keyword-only arguments are its settings. Two facts cannot be read off a signature:

- ``@reference_free``: it does not use ``ref_*``; no reference model is loaded for it.
- ``@with_statistics(fn)``: it needs numbers of the whole global step. ``fn(items) -> dict`` gets the items of the *whole* step,
  detached, and returns scalars by field name, which are set on every pack's items before any loss. This is what keeps
  1x8 = 8x1.
- ``@mismatched``: the plan draws, for each item, another conversation's completion after the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor

F = TypeVar("F", bound=Callable[..., Tensor])


def reference_free(function: F) -> F:
    """Mark an objective that uses no reference model."""
    function.reference_free = True  # type: ignore[attr-defined]
    return function


def with_statistics(statistics: Callable[[Any], dict[str, Tensor]]) -> Callable[[F], F]:
    """Attach the statistics of the global step that an objective needs."""

    def mark(function: F) -> F:
        function.statistics = statistics  # type: ignore[attr-defined]
        return function

    return mark


def mismatched(function: F) -> F:
    """Mark an objective whose items carry a mismatched completion (``Singles.mismatch_logps``)."""
    function.mismatched = True  # type: ignore[attr-defined]
    return function


def required(items: Any, *names: str) -> list[Tensor]:
    """The named fields, or a clear error for one that was left out.

    Raises:
        ValueError: naming the first missing field.
    """
    for name in names:
        if getattr(items, name) is None:
            raise ValueError(f"this objective needs {type(items).__name__}.{name}, which was not given")
    return [getattr(items, name) for name in names]


def log_ratios(pairs: Any) -> tuple[Tensor, Tensor]:
    """(Dw, Dl): log-probability under the policy minus under the reference, chosen and rejected, nats [P]."""
    ref_chosen, ref_rejected = required(pairs, "ref_chosen_logps", "ref_rejected_logps")
    return pairs.chosen_logps - ref_chosen, pairs.rejected_logps - ref_rejected
