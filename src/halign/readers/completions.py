"""``{"prompt", "completion"}``: TRL's prompt-completion form, a demonstration that learns from the
completion only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.dialogue import Message
from halign.errors import DataError
from halign.examples import Demonstration
from halign.readers import fields


def parse(row: fields.Row, conversation: str, extras: Mapping[str, Any]) -> Demonstration:
    """The example of one row. A completion of several messages learns from those of the assistant."""
    if "completion" in row and "response" in row:
        raise DataError("both 'completion' and 'response' are given; keep one", field="response")
    prompt = fields.prompt_messages(row)
    name = "completion" if "completion" in row else "response"
    value = row[name]
    said: tuple[Message, ...]
    if isinstance(value, list) and len(value) > 1:
        said = fields.messages(value, name)
    else:
        said = (fields.noted(fields.reply(value, name, prompt), row),)
    turns = tuple([len(prompt) + i for i, m in enumerate(said) if len(said) == 1 or m.role == "assistant"])
    if not turns:
        raise DataError("no message comes from the assistant: there is nothing to learn from", field=name)
    return Demonstration(fields.said(prompt + said, extras), conversation, turns, fields.weight(row))
