"""What an objective may declare about itself beyond its signature.

An objective is a function ``f(items, *, settings...) -> Tensor`` of unreduced losses. The annotation of its first argument says
what one item is, the keyword-only arguments are its settings; their annotations (``Positive``, ``Literal`` ...) say which values
are allowed. The types of ``halign.objectives.items.VALUED`` say that it trains a
reward model, and so without a reference. What cannot be read off a signature:

- ``@reference_free``: it does not use ``ref_*``; no reference model is loaded for it.
- ``@needs("rewards")``: fields that the data may lack, without which it cannot work; or a function of the settings that names
  them. A run whose data lacks one stops before the first step.
- ``@with_statistics(fn)``: it needs numbers of the whole global step. ``fn(items) -> dict`` gets the items of the *whole* step,
  detached, and returns tensors by name, which are set on every pack's items before any loss: on the field of that name, or in
  ``items.step``. This is what keeps 1x8 = 8x1. With ``remembers=True`` it is ``fn(items, before)``, where ``before`` is what it
  returned for the step before ({} at first): a running mean.
- ``@reads_preference``: it reads how sure a preference is (``Pairs.preference``).
- ``@monitored(fn)``: ``fn(items, **settings) -> dict`` of values per item, whose means are logged; the
  largest of a name that ends in ``_max``.
- ``@only_with("alpha", divergence="alpha")``: a setting that has an effect only where another has that value; a run that sets it
  in vain stops before it starts.
- ``@mismatched``: the plan draws, for each item, another conversation's completion after the same prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

F = TypeVar("F", bound=Callable[..., Tensor])

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
FlipRate = Annotated[float, Field(ge=0, lt=0.5)]
"""Probability that a label is wrong: at one half it would say nothing."""


def reference_free(function: F) -> F:
    """Mark an objective that uses no reference model."""
    function.reference_free = True  # type: ignore[attr-defined]
    return function


def needs(
    *fields: str | Callable[[Mapping[str, Any]], tuple[str, ...]],
    within: tuple[float, float] | None = None,
) -> Callable[[F], F]:
    """Name the fields that the data has to give, or a function of the settings that names them; and the range that the named ones
    have to lie in."""

    def mark(function: F) -> F:
        function.ranges = {f: within for f in fields if isinstance(f, str) and within}  # type: ignore[attr-defined]
        function.needs = lambda settings: tuple(  # type: ignore[attr-defined]
            name for f in fields for name in ((f,) if isinstance(f, str) else f(settings))
        )
        return function

    return mark


def reads_preference(function: F) -> F:
    """Mark an objective on pairs that reads ``Pairs.preference``; for others, soft preferences are made certain beforehand."""
    function.reads_preference = True  # type: ignore[attr-defined]
    return function


def with_statistics(
    statistics: Callable[..., dict[str, Tensor]], *, remembers: bool = False
) -> Callable[[F], F]:
    """Attach the statistics of the global step that an objective needs."""

    def mark(function: F) -> F:
        function.statistics = statistics  # type: ignore[attr-defined]
        function.remembers = remembers  # type: ignore[attr-defined]
        return function

    return mark


def monitored(monitor: Callable[..., dict[str, Tensor]]) -> Callable[[F], F]:
    """Attach what is worth logging about an objective's items beside its loss."""

    def mark(function: F) -> F:
        function.monitor = monitor  # type: ignore[attr-defined]
        return function

    return mark


def only_with(setting: str, **condition: Any) -> Callable[[F], F]:
    """Declare that a setting has an effect only where another one, ``condition``, has that value."""

    def mark(function: F) -> F:
        function.conditions = getattr(function, "conditions", {}) | {setting: condition}  # type: ignore[attr-defined]
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


def of_step(items: Any, *names: str) -> list[Tensor]:
    """The named statistics of the global step.

    Raises:
        ValueError: naming the first missing one.
    """
    for name in names:
        if name not in (items.step or {}):
            raise ValueError(
                f"this objective needs {name} in {type(items).__name__}.step, which was not given"
            )
    return [items.step[name] for name in names]


def log_ratios(pairs: Any) -> tuple[Tensor, Tensor]:
    """(Dw, Dl): log-probability under the policy minus under the reference, chosen and rejected, nats [P]."""
    ref_chosen, ref_rejected = required(pairs, "ref_chosen_logps", "ref_rejected_logps")
    return pairs.chosen_logps - ref_chosen, pairs.rejected_logps - ref_rejected


def per_token(pairs: Any, chosen: Tensor, rejected: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over the chosen and the rejected responses divided by their lengths in tokens, nats per token [P]."""
    chosen_lengths, rejected_lengths = required(pairs, "chosen_lengths", "rejected_lengths")
    return chosen / chosen_lengths, rejected / rejected_lengths


def logistic_loss(logits: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of sigma(logits) against a label that is right with probability 1 - label_smoothing, nats."""
    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)


def probabilities(name: str, values: Tensor) -> Tensor:
    """The values, if they are probabilities.

    Raises:
        ValueError: if one is outside [0, 1] or NaN.
    """
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name} has to lie in [0, 1]; it has {values.min():g} to {values.max():g}")
    return values
