"""``{"text"}``: plain text, learnt from its first token to its last; no chat template wraps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.dialogue import RAW, Message
from halign.errors import DataError
from halign.examples import Demonstration
from halign.readers import fields


def parse(row: fields.Row, conversation: str, extras: Mapping[str, Any]) -> Demonstration:
    """The example of one row."""
    value = row["text"]
    if not isinstance(value, str):
        raise DataError(f"expected a string, found {fields.named(value)}", field="text")
    if not value.strip():
        raise DataError("this text is empty; remove the row", field="text")
    return Demonstration(
        fields.said((Message(RAW, fields.checked(value, "text")),), extras),
        conversation,
        None,
        fields.weight(row),
    )
