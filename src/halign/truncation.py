"""Which old turns a dialogue loses to fit into a window: whole exchanges, in half-window blocks.

A cut drops the fewest exchanges that hold k half-windows of tokens, k = 0, 1, 2 ... Where these cuts lie
depends on the old turns alone, not on how far the conversation has gone on, so neighbouring turns lose the
same exchanges and go on sharing their trunk:

>>> talk = [Message(role, "x" * 10) for _ in range(8) for role in ("user", "assistant")]
>>> [c.dropped for c in cuts(talk, window=80, length=lambda m: len(m.content))]
[0, 4, 8, 12, 14]
>>> [c.dropped for c in cuts(talk[:9], window=80, length=lambda m: len(m.content))]
[0, 4, 8]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from halign.dialogue import Message
from halign.template import SYSTEM_ROLES


@dataclass(frozen=True, slots=True)
class Cut:
    """The messages that stay, how many went, and whether no more can go."""

    messages: Sequence[Message]
    dropped: int
    last: bool


def cuts(messages: Sequence[Message], window: int, length: Callable[[Message], int]) -> Iterator[Cut]:
    """Ever shorter versions of a dialogue, the whole one first. System messages and the last exchange stay.

    Args:
        window: tokens there are for everything.
        length: tokens of a message; an estimate will do, if it is always the same.
    """
    head, *starts = exchanges(messages)
    yield Cut(messages, 0, not starts)
    if not starts:
        return
    block = max((window - sum(map(length, messages[:head]))) // 2, 1)
    lost, dropped, k = 0, head, 1
    for start in starts:
        lost += sum(map(length, messages[dropped:start]))
        dropped = start
        last = start == starts[-1]
        if lost >= k * block or last:
            yield Cut((*messages[:head], *messages[start:]), start - head, last)
            k = lost // block + 1


def exchanges(messages: Sequence[Message]) -> list[int]:
    """Where the turns begin, after any system message, and every later place where a user opens an exchange.

    >>> roles = ("system", "user", "assistant", "user", "user", "assistant", "user")
    >>> exchanges([Message(role, "") for role in roles])
    [1, 3, 6]
    """
    head = next((i for i, m in enumerate(messages) if m.role not in SYSTEM_ROLES), len(messages))
    opens = [
        i
        for i in range(head + 1, len(messages))
        if messages[i].role == "user" and messages[i - 1].role != "user"
    ]
    return [head, *opens]
