"""What can be answered in a row, and what the row answers there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from halign.conditioning.responses import responses
from halign.curation.source import Row
from halign.dialogue import RAW, Dialogue, Message
from halign.examples import Conversation, Demonstration, Preference, Rating


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn that somebody has to answer.

    Attributes:
        replies: what the row answers, the best first as far as it says; empty where it says nothing.
    """

    row: Row
    conversation: str
    prompt: Dialogue
    replies: tuple[Message, ...] = ()

    @property
    def answer(self) -> Message | None:
        """The reply that the row takes for a right one, its best; None if it has none, or says that its only one is bad."""
        example = self.row.example
        if not self.replies or (isinstance(example, Rating) and not example.desirable):
            return None
        return self.replies[0]


def turns(rows: Iterable[Row]) -> Iterator[Turn]:
    """The turns of all rows, in order: every agent turn of a dialogue and, where it ends with somebody else's turn, the whole;
    the prompt of everything else.
    """
    for row in rows:
        yield from _of(row)


def _of(row: Row) -> Iterator[Turn]:
    example, name = row.example, row.conversation
    if example is None:
        if row.prompt is not None:
            yield Turn(row, name, row.prompt)
        return
    for _, group in itertools.groupby(responses(example), key=lambda r: len(r.prompt)):
        some = list(group)
        replies = tuple(r.message for r in some)
        if isinstance(example, Preference) and example.preference < 0.5:
            replies = replies[::-1]
        yield Turn(row, name, some[0].prompt, replies)
    if isinstance(example, Demonstration | Conversation):
        said = example.dialogue.messages
        if said and said[-1].role not in ("assistant", RAW):
            yield Turn(row, name, example.dialogue)


def reply_to(prompt: Dialogue, text: str) -> Message:
    """A reply that was written to a prompt: plain text to plain text, else a turn of the assistant's."""
    return Message(RAW if prompt.is_raw else "assistant", text)


def same_words(a: str, b: str) -> bool:
    """Whether two replies say the same but for white space and capitals.

    >>> same_words("Hello  there", "hello there\\n")
    True
    """
    return a.casefold().split() == b.casefold().split()
