"""OpenAI's preference fine-tuning: ``{"input": {"messages", "tools"}, "preferred_output", "non_preferred_output"}``.

Its supervised files are canonical ``messages`` rows; ``weight`` 0 on a message and the older ``function_call`` and ``functions``
are understood there (``halign.readers.messages``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, is_list


def _sees(row: Row) -> str:
    if not isinstance(row["input"], Mapping) or "messages" not in row["input"]:
        return ""
    if not is_list(row["preferred_output"]) or not is_list(row["non_preferred_output"]):
        return ""
    return "'input' holds 'messages', 'preferred_output' and 'non_preferred_output' are lists of messages"


def _row(row: Row) -> dict[str, Any]:
    given = row["input"]
    if not isinstance(given, Mapping):
        raise DataError(
            f'expected an object {{"messages": [...]}}, found {fields.named(given)}', field="input"
        )
    made = {
        "prompt": fields.required(given, "messages"),
        "chosen": row["preferred_output"],
        "rejected": row["non_preferred_output"],
    }
    return {**made, "tools": given["tools"]} if given.get("tools") else made


FORMATS = (
    Foreign(
        name="openai_preferences",
        title="OpenAI preference fine-tuning",
        needs=("input", "preferred_output", "non_preferred_output"),
        reads_as="pairs",
        sees=_sees,
        row=_row,
        renamed=(
            (r"^prompt", "input.messages"),
            (r"^chosen", "preferred_output"),
            (r"^rejected", "non_preferred_output"),
            (r"^tools", "input.tools"),
        ),
        lists=("input", "preferred_output", "non_preferred_output"),
    ),
)
