"""``{"prompt", "completion", "label"}``: one reply, good (true, 1) or bad (false, 0). ``response`` is read
as ``completion``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.errors import DataError
from halign.examples import Rating
from halign.readers import fields


def parse(row: fields.Row, conversation: str, extras: Mapping[str, Any]) -> Rating:
    """The example of one row."""
    prompt = fields.prompt_messages(row)
    name = "completion" if "completion" in row else "response"
    if name == "response" and "response" not in row:
        fields.required(row, "completion")
    if "completion" in row and "response" in row:
        raise DataError("both 'completion' and 'response' are given; keep one", field="response")
    return Rating(
        fields.said(prompt, extras),
        fields.noted(fields.reply(row[name], name, prompt), row),
        fields.label(fields.required(row, "label"), "label"),
        conversation,
        score=fields.optional_number(row, "score"),
        weight=fields.weight(row),
    )
