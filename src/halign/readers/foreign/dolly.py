"""Dolly (databricks-dolly-15k): ``{"instruction", "context", "response", "category"}``; the context follows the instruction in
the user's message."""

from __future__ import annotations

from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, all_text, text, user


def _sees(row: Row) -> str:
    if not all_text(row, "instruction", "response") or not {"context", "category"} & row.keys():
        return ""
    return "'instruction' and 'response' are texts, with 'context' or 'category' beside them"


def _row(row: Row) -> dict[str, Any]:
    said, context = text(row, "instruction"), row.get("context", "")
    if not isinstance(context, str):
        raise DataError(f"expected a string, found {fields.named(context)}", field="context")
    prompt = user(f"{said}\n\n{context}" if context.strip() else said)
    return {"prompt": prompt, "completion": text(row, "response")}


FORMATS = (
    Foreign(
        name="dolly",
        title="Dolly",
        needs=("instruction", "response"),
        reads_as="completions",
        sees=_sees,
        row=_row,
        takes=("context",),
        over=("completions",),
    ),
)
