"""ShareGPT: ``{"conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}]}``.

Also with ``role`` and ``content`` in it, with LLaMA-Factory's tool turns (``function_call``, ``observation``) and its preference
rows (``chosen`` and ``rejected`` beside the conversation), and with ``weight`` or ``train`` on a turn (axolotl): 0 or false is
not learnt. A ``system`` column opens the conversation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, is_list

KEYS = (("from", "value"), ("role", "content"), ("role", "value"), ("from", "content"))
ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}


def _keys(turn: Any) -> tuple[str, str] | None:
    """What the two keys of a turn are called."""
    if not isinstance(turn, Mapping):
        return None
    return next((keys for keys in KEYS if keys[0] in turn and keys[1] in turn), None)


def _sees(row: Row) -> str:
    turns = row["conversations"]
    if not is_list(turns) or (keys := _keys(turns[0])) is None:
        return ""
    return f"'conversations' is a list of {{{keys[0]!r}, {keys[1]!r}}}"


def _message(turn: Any, field: str) -> dict[str, Any]:
    """One turn as a message."""
    keys = _keys(turn)
    if keys is None:
        raise DataError(f'expected an object {{"from", "value"}}, found {fields.named(turn)}', field=field)
    who, what = keys
    said = str(turn[who]).lower()
    if said not in ROLES:
        raise DataError(
            f"no such speaker: {turn[who]!r}{fields.hint(said, ROLES)}; {', '.join(ROLES)}",
            field=f"{field}.{who}",
        )
    rest = {k: v for k, v in turn.items() if k not in (who, what, "train")}
    if turn.get("train") is False:
        rest["weight"] = 0
    if said == "function_call":
        return {
            "role": "assistant",
            "content": "",
            "tool_calls": _calls(turn[what], f"{field}.{what}"),
            **rest,
        }
    return {"role": ROLES[said], "content": turn[what], **rest}


def _calls(value: Any, field: str) -> list[dict[str, Any]]:
    """The calls that a ``function_call`` turn writes as JSON: one ``{"name", "arguments"}``, or a list of them."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise DataError(
            'expected the JSON of a call, {"name", "arguments"}; this is not JSON', field=field
        ) from None
    calls = found if isinstance(found, list) else [found]
    return [{"type": "function", "function": call} for call in calls]


def _messages(row: Row) -> list[dict[str, Any]]:
    turns = row["conversations"]
    if not isinstance(turns, list | tuple) or not turns:
        raise DataError(f"expected a list of turns, found {fields.named(turns)}", field="conversations")
    said = [_message(turn, f"conversations[{i}]") for i, turn in enumerate(turns)]
    if row.get("system") and said[0]["role"] != "system":
        said.insert(0, {"role": "system", "content": row["system"]})
    return said


def _row(row: Row) -> dict[str, Any]:
    return {"messages": _messages(row)}


def _sees_pair(row: Row) -> str:
    if not (seen := _sees(row)) or _keys(row["chosen"]) is None or _keys(row["rejected"]) is None:
        return ""
    return f"{seen}, 'chosen' and 'rejected' are each one turn"


def _pair(row: Row) -> dict[str, Any]:
    replies = {name: [_message(row[name], name)] for name in ("chosen", "rejected")}
    return {"prompt": _messages(row), **replies}


def _field(made: str) -> tuple[tuple[str, str], ...]:
    return ((rf"^{made}", "conversations"), (r"\.content$", ".value"))


FORMATS = (
    Foreign(
        name="sharegpt",
        title="ShareGPT",
        needs=("conversations",),
        reads_as="messages",
        sees=_sees,
        row=_row,
        takes=("system",),
        renamed=_field("messages"),
        lists=("conversations",),
    ),
    Foreign(
        name="sharegpt_pairs",
        title="ShareGPT with a preference (LLaMA-Factory)",
        needs=("conversations", "chosen", "rejected"),
        reads_as="pairs",
        sees=_sees_pair,
        row=_pair,
        takes=("system",),
        over=("sharegpt", "pairs"),
        renamed=_field("prompt"),
        lists=("conversations",),
    ),
)
