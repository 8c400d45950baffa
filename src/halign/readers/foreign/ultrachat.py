"""UltraChat: ``{"id", "data": ["first user turn", "first reply", ...]}`` (stingning/ultrachat), and HuggingFaceH4's
ultrachat_200k: ``{"prompt", "prompt_id", "messages"}``, whose prompt repeats the first message."""

from __future__ import annotations

from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, is_list


def _sees(row: Row) -> str:
    data = row["data"]
    if not isinstance(data, list | tuple) or len(data) < 2 or not all(isinstance(t, str) for t in data):
        return ""
    return "'data' is a list of texts, taken for the turns of user and assistant"


def _row(row: Row) -> dict[str, Any]:
    data = row["data"]
    if not isinstance(data, list | tuple):
        raise DataError(f"expected a list of texts, found {fields.named(data)}", field="data")
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": said} for i, said in enumerate(data)]}


def _sees_200k(row: Row) -> str:
    if not is_list(row["messages"]) or not isinstance(row["prompt"], str):
        return ""
    return "'messages' is a list of messages, 'prompt' repeats the first of them"


def _row_200k(row: Row) -> dict[str, Any]:
    return {"messages": row["messages"], "id": row["prompt_id"]}


FORMATS = (
    Foreign(
        name="ultrachat",
        title="UltraChat",
        needs=("id", "data"),
        reads_as="messages",
        sees=_sees,
        row=_row,
        renamed=((r"^messages", "data"), (r"\.content$", "")),
        lists=("data",),
    ),
    Foreign(
        name="ultrachat_200k",
        title="UltraChat 200k",
        needs=("prompt", "prompt_id", "messages"),
        reads_as="messages",
        sees=_sees_200k,
        row=_row_200k,
        over=("messages",),
    ),
)
