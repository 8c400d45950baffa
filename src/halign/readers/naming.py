"""Which conversation a row is from: what its columns say, else a hash of how it opens."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import DataError
from halign.examples import Conversation, Demonstration, Example
from halign.readers import fields


def named_conversation(row: fields.Row, column: str | None, pattern: re.Pattern[str] | None) -> str:
    """The conversation that the row says it is from; '' if it says nothing.

    Args:
        column: the column that names it; None means ``conversation``, else ``id``.
        pattern: what of that name counts: its first group, or all it matches.
    """
    if column is None:
        column = "conversation" if "conversation" in row else "id"
        if column not in row:
            if pattern:
                raise DataError("conversation_pattern needs a column 'conversation' or 'id'", field="id")
            return ""
    value = fields.required(row, column)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(
            f"expected a name, found {'nothing' if value == '' else fields.named(value)}", field=column
        )
    if pattern is None:
        return str(value)
    match = pattern.search(str(value))
    if match is None:
        raise DataError(
            f"{str(value)!r} does not match conversation_pattern {pattern.pattern!r}", field=column
        )
    return match.group(1) if pattern.groups else match.group()


def rename(example: Example, conversation: str, id: str | None = None) -> Example:
    """The same example under another conversation; ``id`` is what the row was called, kept in meta."""
    if id is None:
        return replace(example, conversation=conversation)
    if isinstance(example, Demonstration | Conversation):
        d = example.dialogue
        return replace(example, conversation=conversation, dialogue=replace(d, meta={**d.meta, "id": id}))
    p = example.prompt
    return replace(example, conversation=conversation, prompt=replace(p, meta={**p.meta, "id": id}))


def derived_name(example: Example) -> str:
    """The conversation of a row that names none: a hash of the whole dialogue, or of how the prompt opens.

    Prompts cut from one conversation open alike, so they stay together; some that merely open alike join
    them.
    """
    if isinstance(example, Demonstration | Conversation):
        return _hash(example.dialogue.messages, example.dialogue)
    return opening_name(example.prompt)


def opening_name(prompt: Dialogue) -> str:
    """A hash of the prompt up to its first user message (all of it where no user speaks)."""
    users = [i for i, m in enumerate(prompt.messages) if m.role == "user"]
    return _hash(prompt.messages[: users[0] + 1] if users else prompt.messages, prompt)


def _hash(turns: tuple[Message, ...], dialogue: Dialogue) -> str:
    parts = [f"{m.role}\x1f{m.content}" for m in turns]
    text = "\x1e".join([*dialogue.guardrails, *parts])
    return f"{'text' if turns[0].role == RAW else 'talk'}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
