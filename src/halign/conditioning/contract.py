"""What a text method is, and what it may declare about itself.

A text method is a function ``f(examples: Sequence[Example], *, settings...) -> Converted[Demonstration]``. Its keyword-only
arguments are its settings. Its demonstrations are rendered and learnt by ``sft``. It may also declare

- ``@asks(fn)``: ``fn(settings) -> str``, the words that the finished model's responses are made to begin with;
- ``@settled(fn)``: ``fn(examples, settings) -> settings``, run once on the training data: fills in what the settings leave to
  the data (a range of scores), so that held-out data is rewritten alike and the model asks for what it has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from halign.convert import Converted
from halign.errors import HalignError
from halign.examples import Demonstration, Example

Settings = Mapping[str, Any]
TextMethod = Callable[..., Converted[Demonstration]]
F = TypeVar("F", bound=TextMethod)


def asks(words: Callable[[Settings], str]) -> Callable[[F], F]:
    """Attach what to ask the finished model for."""

    def mark(function: F) -> F:
        function.asks = words  # type: ignore[attr-defined]
        return function

    return mark


def settled(fill: Callable[[Sequence[Example], Settings], Settings]) -> Callable[[F], F]:
    """Attach what fills in settings from the training data."""

    def mark(function: F) -> F:
        function.settled = fill  # type: ignore[attr-defined]
        return function

    return mark


class Rewriting:
    """A text method with its settings, settled on the training data.

    Attributes:
        settings: complete.
        asked: words that responses of the finished model begin with; "" for none.
    """

    def __init__(self, method: TextMethod, settings: Settings, examples: Sequence[Example]) -> None:
        self.method, self.name = method, method.__name__
        fill = getattr(method, "settled", lambda examples, settings: settings)
        self.settings: Settings = fill(examples, settings)
        self.asked: str = getattr(method, "asks", lambda settings: "")(self.settings)

    def __call__(self, examples: Sequence[Example]) -> Converted[Demonstration]:
        """The demonstrations.

        Raises:
            HalignError: if the data lacks what the method needs, or nothing comes of it.
        """
        made = self.method(examples, **self.settings)
        if not made.examples:
            why = "; ".join(f"{n} {reason}" for reason, n in made.dropped.items()) or "nothing to rewrite"
            raise HalignError(f"{self.name}: none of the {len(examples)} examples gives a text: {why}")
        return made
