"""What someone thinks of a dialogue: demonstrations, preferences, rankings, ratings, and conversations with alternatives.

Readers make these, rendering turns them into token paths. ``conversation`` names where an example comes from:
it keeps splits apart, groups what shares a trunk, and clusters the error bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from halign.dialogue import Dialogue, Message


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A dialogue whose turns are worth imitating.

    Attributes:
        dialogue: the whole conversation.
        turns: indices of the messages to learn from; None means every message of the trained roles.
    """

    dialogue: Dialogue
    conversation: str
    turns: tuple[int, ...] | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Preference:
    """Of two responses to one prompt, one is preferred.

    Attributes:
        preference: probability that chosen beats rejected (1 when it was simply chosen), in [0, 1].
        chosen_win_rate, rejected_win_rate: mean probability of beating the other samples (SPPO), or None.
        violates: name of the guardrail the rejected response breaks, if known.
    """

    prompt: Dialogue
    chosen: Message
    rejected: Message
    conversation: str
    preference: float = 1.0
    chosen_win_rate: float | None = None
    rejected_win_rate: float | None = None
    weight: float = 1.0
    violates: str | None = None


@dataclass(frozen=True, slots=True)
class Duel(Preference):
    """A preference whose two responses are read together, one after the other (a pairwise preference model)."""

    @property
    def orders(self) -> tuple[Message, Message]:
        """Both responses as one message: the chosen one first, and the rejected one first."""
        return versus(self.chosen, self.rejected), versus(self.rejected, self.chosen)


def versus(first: Message, second: Message) -> Message:
    """Two responses as one message."""
    return Message(first.role, f"Response 1:\n{first.content}\n\nResponse 2:\n{second.content}")


@dataclass(frozen=True, slots=True)
class Ranking:
    """K responses to one prompt, best first.

    Attributes:
        responses: best first.
        ranks: 1 is best; equal ranks are ties. One per response, non-decreasing.
        scores: higher is better, one per response; None where only the order is known.
        unranked: responses that nobody placed (a partial ranking). Nothing is learnt from them.
    """

    prompt: Dialogue
    responses: tuple[Message, ...]
    ranks: tuple[int, ...]
    conversation: str
    scores: tuple[float, ...] | None = None
    weight: float = 1.0
    unranked: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Rating:
    """One response, good or bad on its own.

    Attributes:
        attributes: values of the attributes that a reward model is trained on, NaN where unknown.
    """

    prompt: Dialogue
    response: Message
    desirable: bool
    conversation: str
    score: float | None = None
    weight: float = 1.0
    attributes: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """What could have been said instead at one turn of a conversation. Exactly one of rank, score, label is set."""

    message: Message
    rank: int | None = None
    score: float | None = None
    label: bool | None = None
    violates: str | None = None


@dataclass(frozen=True, slots=True)
class Conversation:
    """A dialogue whose agent turns carry alternatives; the dialogue's own content is the best and continues the trunk.

    Attributes:
        alternatives: message index -> alternatives at that turn.
    """

    dialogue: Dialogue
    conversation: str
    alternatives: Mapping[int, tuple[Alternative, ...]] = field(default_factory=dict)
    weight: float = 1.0


Example = Demonstration | Preference | Ranking | Rating | Conversation


def prompts(examples: list[Example]) -> Iterator[tuple[str, Dialogue]]:
    """(conversation, prompt) of every example; a demonstration's or conversation's are the turns before each agent turn."""
    for e in examples:
        if isinstance(e, Demonstration | Conversation):
            for i, m in enumerate(e.dialogue.messages):
                if m.role == "assistant":
                    yield e.conversation, e.dialogue[:i]
        else:
            yield e.conversation, e.prompt
