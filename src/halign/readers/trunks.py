"""Rows cut from one conversation, recognised: ids ``star-1000-4``, ``star-1000-8`` whose prompts continue
each other.

Such a file names every row by conversation and turn. Taking each id for a conversation of its own would
spread one conversation over train and test, and make error bars too narrow. So where ids end in a number,
and every two rows that share the rest of the id have prompts one of which begins the other, the rest of the
id is the conversation.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from halign.dialogue import Message
from halign.examples import Conversation, Demonstration, Example
from halign.readers.naming import rename

TURN = re.compile(r"^(.+?)[-_/.:#]\d+$")


def group_turns(examples: Sequence[Example]) -> list[Example]:
    """The examples, renamed to their common conversation where ids and prompts say so, else as they came."""
    groups: dict[str, list[tuple[Message, ...]]] = defaultdict(list)
    for e in examples:
        match = TURN.match(e.conversation)
        if isinstance(e, Demonstration | Conversation) or match is None:
            return list(examples)
        groups[match[1]].append(e.prompt.messages)
    if not any(len(g) > 1 for g in groups.values()) or not all(_nested(g) for g in groups.values()):
        return list(examples)
    return [rename(e, TURN.sub(r"\1", e.conversation), id=e.conversation) for e in examples]


def _nested(prompts: Iterable[tuple[Message, ...]]) -> bool:
    """True if, by length, each prompt begins the next, and no two are the same."""
    ordered = sorted(prompts, key=len)
    return all(len(a) < len(b) and b[: len(a)] == a for a, b in itertools.pairwise(ordered))
