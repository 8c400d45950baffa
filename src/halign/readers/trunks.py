"""Rows cut from one conversation, recognised: ids ``star-1000-4``, ``star-1000-8`` whose prompts continue
each other.

Such a file names every row by conversation and turn. Taking each id for a conversation of its own would
spread one conversation over train and test, and make error bars too narrow. So where ids end in a number,
and every two rows that share the rest of the id have prompts one of which begins the other, the rest of the
id is the conversation.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from halign.dialogue import Message
from halign.examples import Conversation, Demonstration, Example
from halign.readers.naming import rename

TURN = re.compile(r"^(.+?)[-_/.:#]\d+$")


class Trunks:
    """Decides, row by row, whether names are of the form conversation and turn, and the prompts bear it out.

    Of every prompt only hashes of its beginnings are kept, eight bytes a message.
    """

    def __init__(self) -> None:
        self._groups: dict[str, list[tuple[int, ...]]] | None = defaultdict(list)

    def add(self, example: Example) -> bool:
        """Takes note of the next row; False once no row can change the answer any more, which is no."""
        if self._groups is None:
            return False
        match = TURN.match(example.conversation)
        if match is None or isinstance(example, Demonstration | Conversation):
            self._groups = None
            return False
        group, prompt = self._groups[match[1]], _beginnings(example.prompt.messages)
        if group and not _nested(
            (group[-1], prompt)
        ):  # of single rows with numbered names the second says so
            self._groups = None
            return False
        group.append(prompt)
        return True

    @property
    def found(self) -> bool:
        """True if rows belong together by the first part of their names."""
        groups = (self._groups or {}).values()
        return any(len(g) > 1 for g in groups) and all(_nested(g) for g in groups)


def trunk(name: str) -> str:
    """The name without its turn.

    >>> trunk("star-1000-4")
    'star-1000'
    """
    return TURN.sub(r"\1", name)


def group_turns(examples: Sequence[Example]) -> list[Example]:
    """The examples, renamed to their common conversation where ids and prompts say so, else as they came."""
    trunks = Trunks()
    if not all(trunks.add(e) for e in examples) or not trunks.found:
        return list(examples)
    return [rename(e, trunk(e.conversation), id=e.conversation) for e in examples]


def _beginnings(messages: Sequence[Message]) -> tuple[int, ...]:
    """A hash of each beginning of a prompt: of its first message, its first two, and so on."""
    digest, found = hashlib.blake2b(digest_size=8), []
    for m in messages:
        digest.update(
            repr((m.role, m.content, sorted(m.extra.items()), m.learn)).encode("utf-8", "surrogatepass")
        )
        found.append(int.from_bytes(digest.digest(), "little"))
    return tuple(found)


def _nested(prompts: Iterable[tuple[int, ...]]) -> bool:
    """True if, by length, each prompt begins the next, and no two are the same."""
    ordered = sorted(prompts, key=len)
    return all(len(a) < len(b) and b[: len(a)] == a for a, b in itertools.pairwise(ordered))
