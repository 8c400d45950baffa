"""What a guardrail is, and what a check of one can say."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Literal, Protocol

from halign.dialogue import Message


class Verdict(StrEnum):
    """What a check says of a reply."""

    KEPT = "kept"
    BROKEN = "broken"
    OPEN = "open"
    """The rule has nothing to say about this turn, or the check cannot tell."""


@dataclass(frozen=True)
class Turn:
    """Where a reply stands.

    Attributes:
        before: all that was said before it.
        good: the reply that the agent gave there; evidence of what the turn is about, where a check needs some.
    """

    before: Sequence[Message]
    good: str

    @property
    def agent(self) -> list[str]:
        """What the agent said before."""
        return [m.content for m in self.before if m.role == "assistant"]

    @property
    def customer(self) -> str:
        """The customer's last message, '' before the first."""
        return next((m.content for m in reversed(self.before) if m.role == "user"), "")


class Check(Protocol):
    """Tells whether a reply keeps a rule, and how a reply would look that breaks it.

    Attributes:
        kind: the name under which policies in YAML ask for it.
        everywhere: True if the rule applies at every turn, so that one conversation would give it dozens of times.
        forbids: True if the rule is kept by leaving something out, so that a reply which says nothing keeps it. Kept then means
            that nothing forbidden was found.
    """

    kind: ClassVar[str]

    @property
    def everywhere(self) -> bool: ...

    @property
    def forbids(self) -> bool: ...

    def judge(self, turn: Turn, reply: str) -> Verdict:
        """Kept only where the reply follows the rule, not where the rule has no occasion."""
        ...

    def breaking(self, turn: Turn, draws: random.Random) -> list[str]:
        """Replies that should break the rule in place of ``turn.good``, the best first; each is judged afterwards."""
        ...


Scope = Literal["always", "when"]


@dataclass(frozen=True)
class Guardrail:
    """One rule.

    Attributes:
        text: the rule as the policy has it, one sentence or two.
        scope: "when" if the rule names a condition; it is in ``when``.
        tasks: the tasks that it belongs to; empty: all.
        section: the headings above it.
        check: None where none could be written by rules.
    """

    id: str
    text: str
    scope: Scope = "always"
    when: str = ""
    tasks: tuple[str, ...] = ()
    section: str = ""
    check: Check | None = field(default=None, compare=False)
