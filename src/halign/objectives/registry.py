"""Objectives by name: ``dpo``, or ``package.module:function`` for an outsider's."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from halign.errors import HalignError
from halign.items import Kind
from halign.objectives.items import (
    VALUED,
    Items,
    Lists,
    Pairs,
    Rollouts,
    Singles,
    Tokens,
    ValueLists,
    ValuePairs,
    ValueSingles,
)
from halign.outsiders import imported

KINDS: dict[type, Kind] = {
    Pairs: "pairs",
    Lists: "lists",
    Singles: "singles",
    Tokens: "tokens",
    Rollouts: "rollouts",
    ValuePairs: "pairs",
    ValueLists: "lists",
    ValueSingles: "singles",
}


SAMPLING = ("ppo", "reinforce", "rloo", "grpo")
"""Methods that one might look for here and that are loops (``halign.loops``)."""


@dataclass(frozen=True)
class Objective:
    """An objective and what its signature says.

    Attributes:
        name: the word on the command line.
        kind: what one item is.
        settings: keyword-only argument -> (type, default).
        needs: settings -> fields of the items that the data has to give; ranges: field -> where its values have to lie.
        conditions: setting -> the other settings' values without which it has no effect.
        needs_reference, reads_preference, mismatched, statistics, remembers, monitor: see ``halign.objectives.contract``.
        text: of a method that is made of text (``halign.conditioning``), what rewrites the data; the settings are its own, and
            the loss is that of ``sft``.
        reads_values: it trains a reward model: its items hold a value head's outputs (``halign.objectives.items.VALUED``).
    """

    name: str
    function: Callable[..., Tensor]
    kind: Kind
    settings: dict[str, tuple[Any, Any]]
    needs_reference: bool
    mismatched: bool
    statistics: Callable[..., dict[str, Tensor]] | None
    remembers: bool
    needs: Callable[[Mapping[str, Any]], tuple[str, ...]]
    ranges: Mapping[str, tuple[float, float]]
    reads_preference: bool
    conditions: Mapping[str, Mapping[str, Any]]
    monitor: Callable[..., dict[str, Tensor]] | None
    text: Callable[..., Any] | None = None
    reads_values: bool = False

    def __call__(self, items: Items, **settings: Any) -> Tensor:
        """The unreduced losses."""
        return self.function(items) if self.text else self.function(items, **settings)

    def compares_distributions(self, settings: Mapping[str, Any]) -> bool:
        """True if it reads the reference's whole next-token distributions, not only its log-probabilities."""
        return "target_kl" in self.needs(settings)

    @property
    def documentation(self) -> str:
        """The docstring, without its indentation."""
        return inspect.getdoc(self.text or self.function) or ""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.documentation.partition("\n")[0]


def names() -> list[str]:
    """The built-in objectives and text methods, sorted."""
    from halign import conditioning, objectives

    return sorted({**objectives.BUILT_IN, **conditioning.BUILT_IN})


def find(name: str) -> Objective:
    """The objective of that name.

    Raises:
        HalignError: if there is none, or an outsider's function does not keep the contract.
    """
    if ":" in name:
        found = describe(name, outsider(name))
        if found.kind == "rollouts":
            raise HalignError(
                f"objective {name!r} learns from replies that a loop samples, not from data: halign run"
            )
        return found
    from halign import conditioning, objectives

    function: Callable[..., Any] | None = {**objectives.BUILT_IN, **conditioning.BUILT_IN}.get(name)
    if function is None and name in SAMPLING:
        raise HalignError(
            f"{name} learns from replies that it samples and a reward that grades them, not from data: halign run {name}"
        )
    if function is None:
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise HalignError(
            f"no objective {name!r}{hint} (known: {', '.join(names())}; or package.module:function)"
        )
    return describe(name, function)


def outsider(name: str, what: str = "objective") -> Callable[..., Tensor]:
    """The function that ``package.module:function`` names; the folder of the call is looked in, too.

    Raises:
        HalignError: if it cannot be imported or is no function.
    """
    found = imported(name, what)
    if not inspect.isfunction(found):
        raise HalignError(f"{what} {name!r} is no function")
    return typing.cast(Callable[..., Tensor], found)


def describe(name: str, function: Callable[..., Any]) -> Objective:
    """What a function's signature says of it, under that name.

    Raises:
        HalignError: if it does not keep the contract.
    """
    from halign.examples import Example

    hints = typing.get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    first = hints.get(parameters[0].name) if parameters else None
    rewrites = first == Sequence[Example]
    if first not in KINDS and not rewrites:
        raise HalignError(
            f"objective {name!r}: annotate the first argument with Pairs, Lists, Singles or Tokens "
            "(of a reward model: ValuePairs, ValueLists, ValueSingles)"
        )
    for p in parameters[1:]:
        if p.kind is not inspect.Parameter.KEYWORD_ONLY or p.default is inspect.Parameter.empty:
            raise HalignError(
                f"objective {name!r}: settings are keyword-only and have defaults; {p.name!r} is not so"
            )
    settings = {p.name: (hints.get(p.name, type(p.default)), p.default) for p in parameters[1:]}
    if rewrites:
        from halign.objectives.sft import sft

        return replace(describe("sft", sft), name=name, settings=settings, text=function)
    return Objective(
        name=name,
        function=function,
        kind=KINDS[typing.cast(type, first)],
        settings=settings,
        needs_reference=first not in VALUED and not getattr(function, "reference_free", False),
        mismatched=getattr(function, "mismatched", False),
        statistics=getattr(function, "statistics", None),
        remembers=getattr(function, "remembers", False),
        needs=getattr(function, "needs", lambda settings: ()),
        ranges=getattr(function, "ranges", {}),
        reads_preference=getattr(function, "reads_preference", False),
        conditions=getattr(function, "conditions", {}),
        monitor=getattr(function, "monitor", None),
        reads_values=first in VALUED,
    )
