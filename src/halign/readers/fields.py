"""Fields that several formats share: messages, replies, numbers. Each function checks one value.

Functions raise DataError with the field only; the reader that drives them adds the file and the line.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from halign.dialogue import RAW, Dialogue, Message, Spans
from halign.errors import DataError
from halign.readers.characters import problem, sound
from halign.readers.tools import function_call, tool_calls
from halign.readers.words import hint, named

Row = Mapping[str, Any]

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function", RAW})
MAY_BE_EMPTY = frozenset({"tool", "function"})
"""A tool may answer nothing; everybody else who speaks says something."""
OTHER_NAMES = {
    "human": "user",
    "customer": "user",
    "prompter": "user",
    "client": "user",
    "agent": "assistant",
    "bot": "assistant",
    "gpt": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
}
"""Roles that other formats use, and what they are called here."""


def required(row: Row, field: str) -> Any:
    """The value of a field that must be there; a near miss among the row's own columns is pointed out."""
    try:
        return row[field]
    except KeyError:
        near = get_close_matches(field, [str(k) for k in row], n=1, cutoff=0.6)
        said = f"; the row has {near[0]!r}: did you mean {field!r}?" if near else ""
        raise DataError(
            f"this field is missing{said} (columns: {', '.join(map(str, row))})", field=field
        ) from None


def _text(value: Any, field: str, role: str, has_tool_calls: bool) -> str:
    """The text of a message; a list of text parts (``{"type": "text", "text": ...}``) is joined."""
    if isinstance(value, list) and value:
        parts = [p.get("text") if isinstance(p, Mapping) and p.get("type") == "text" else None for p in value]
        if all(isinstance(p, str) for p in parts):
            value = "".join(p for p in parts if p is not None)
        else:
            raise DataError("only text is supported; this content has parts that are not text", field=field)
    if value is None and has_tool_calls:
        return ""
    if not isinstance(value, str):
        raise DataError(f"expected a string, found {named(value)}", field=field)
    if not (value and not value.isspace()) and not has_tool_calls and role not in MAY_BE_EMPTY:
        raise DataError("this message is empty; remove the turn, or the row", field=field)
    return checked(value, field)


def checked(text: str, field: str) -> str:
    """The text, if all its characters are whole (``characters``)."""
    if sound(text):
        return text
    raise DataError(f"{problem(text)}", field=field)


def message(value: Any, field: str, *, role: str | None = None, drop: tuple[str, ...] = ()) -> Message:
    """One message from ``{"role", "content", ...}``; other keys become ``extra``, but for null ones and
    ``drop``.

    Args:
        role: what the role is if the object names none; None makes the role required.
    """
    if not isinstance(value, Mapping):
        raise DataError(f'expected an object {{"role", "content"}}, found {named(value)}', field=field)
    if value.get("function_call") is not None:
        call = function_call(value["function_call"], f"{field}.function_call")
        value = {**{k: v for k, v in value.items() if k != "function_call"}, "tool_calls": [call]}
    said = value.get("role", role)
    if said is None:
        if "from" in value and "value" in value:
            raise DataError(
                "ShareGPT's 'from' and 'value' are called 'role' and 'content' here; its rows are read from a column"
                " 'conversations'",
                field=field,
            )
        required(value, "role")
    if not isinstance(said, str) or said not in ROLES:
        other = OTHER_NAMES.get(str(said).lower())
        mend = f" (did you mean {other!r}?)" if other else hint(str(said), ROLES)
        raise DataError(
            f"no such role: {said!r}{mend}; roles are {', '.join(sorted(ROLES))}", field=f"{field}.role"
        )
    if "content" not in value and "tool_calls" not in value:
        try:
            required(value, "content")
        except DataError as e:
            raise DataError(e.problem, field=f"{field}.content") from None
    content = _text(value.get("content"), f"{field}.content", said, bool(value.get("tool_calls")))
    if len(value) == 2 and "role" in value:
        return Message(said, content)
    left = ("role", "content", "learn", *drop)
    extra = {k: v for k, v in value.items() if k not in left and v is not None}
    if "attributes" in extra or "feedback" in extra:
        extra |= notes(extra, f"{field}.")
    if "tool_calls" in extra:
        tool_calls(extra["tool_calls"], f"{field}.tool_calls")
    return Message(said, content, extra, spans(value.get("learn"), f"{field}.learn", len(content)))


def notes(row: Row, before: str = "") -> dict[str, Any]:
    """What is noted about a reply, checked: ``attributes`` (name -> number) and ``feedback`` (words); only what there is."""
    found: dict[str, Any] = {}
    if (attributes := row.get("attributes")) is not None:
        if not isinstance(attributes, Mapping):
            raise DataError(
                f"expected an object of numbers, found {named(attributes)}", field=f"{before}attributes"
            )
        known = {
            k: v for k, v in attributes.items() if v is not None
        }  # parquet fills what a row lacks with null
        for name, value in known.items():
            number(value, f"{before}attributes.{name}")
        found["attributes"] = known
    if (feedback := string(row.get("feedback"), f"{before}feedback")) is not None:
        if not feedback.strip():
            raise DataError("this feedback is empty; leave it out", field=f"{before}feedback")
        found["feedback"] = feedback
    return found


def noted(reply: Message, row: Row) -> Message:
    """The reply with what the row's own columns note about it; what its object notes goes first."""
    found = notes(row)
    return replace(reply, extra={**found, **reply.extra}) if found else reply


def spans(value: Any, field: str, length: int) -> Spans | None:
    """``learn``: ranges [start, end) of characters, in order, within a text of this length."""
    if value is None:
        return None
    pairs: list[Any] = list(value) if isinstance(value, list | tuple) else [None]
    before = 0
    for pair in pairs:
        whole = isinstance(pair, list | tuple) and len(pair) == 2 and all(type(n) is int for n in pair)
        if not whole or not before <= pair[0] <= pair[1] <= length:
            raise DataError(
                f"expected ranges [start, end] of characters, in order, within 0 to {length}", field=field
            )
        before = pair[1]
    return tuple((a, b) for a, b in pairs)


def messages(value: Any, field: str, *, drop: tuple[str, ...] = ()) -> tuple[Message, ...]:
    """A non-empty list of messages."""
    if not isinstance(value, list | tuple):
        raise DataError(f"expected a list of messages, found {named(value)}", field=field)
    if not value:
        raise DataError("this list of messages is empty", field=field)
    return tuple([_plain(m) or message(m, f"{field}[{i}]", drop=drop) for i, m in enumerate(value)])


def _plain(value: Any) -> Message | None:
    """The quick way for what nearly every message is: a known role, some text, and nothing else."""
    if type(value) is dict and len(value) == 2:
        role, content = value.get("role"), value.get("content")
        if (
            type(role) is str
            and role in ROLES
            and type(content) is str
            and content
            and not content.isspace()
            and sound(content)
        ):
            return Message(role, content)
    return None


def prompt_messages(row: Row) -> tuple[Message, ...]:
    """The ``prompt``: a list of messages, or a string that no chat template wraps."""
    value = required(row, "prompt")
    if isinstance(value, str):
        if not value:
            raise DataError(
                "this prompt is empty; use the 'text' format for text without a prompt", field="prompt"
            )
        return (Message(RAW, checked(value, "prompt")),)
    return messages(value, "prompt")


def reply(value: Any, field: str, prompt: tuple[Message, ...]) -> Message:
    """One reply to a prompt: a string, one message, or a list that holds one message."""
    raw = prompt[-1].role == RAW
    role = RAW if raw else "assistant"
    if isinstance(value, str):
        return Message(role, _text(value, field, role, False))
    if isinstance(value, list | tuple):
        if len(value) != 1:
            raise DataError(f"expected one reply, found a list of {len(value)} messages", field=field)
        value, field = value[0], f"{field}[0]"
        if isinstance(value, str):
            return reply(value, field, prompt)
    said = message(value, field, role=role)
    if raw and said.role != RAW:
        raise DataError(
            "the prompt is plain text but the reply is a message; write the prompt as a list of messages too",
            field=field,
        )
    if not raw and said.role != "assistant":
        raise DataError(
            f"a reply comes from the assistant, this one from {said.role!r}", field=f"{field}.role"
        )
    return said


def number(value: Any, field: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        shown = f"{value!r}" if isinstance(value, float) else named(value)
        raise DataError(f"expected a finite number, found {shown}", field=field)
    if not low <= value <= high:
        bounds = f"in [{low:g}, {high:g}]" if high < math.inf else f"of at least {low:g}"
        raise DataError(f"expected a number {bounds}, found {value}", field=field)
    return float(value)


def optional_number(row: Row, field: str, low: float = -math.inf, high: float = math.inf) -> float | None:
    """A number that may be left out."""
    value = row.get(field)
    return None if value is None else number(value, field, low, high)


def weight(row: Row) -> float:
    """The row's ``weight``, 1 when left out."""
    value = optional_number(row, "weight", 0.0)
    return 1.0 if value is None else value


def rank(value: Any, field: str) -> int:
    """A rank: a whole number, 1 is best."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise DataError(f"expected a whole number (1 is best), found {named(value)}", field=field)
    if value < 1:
        raise DataError(f"ranks start at 1, which is best; found {value}", field=field)
    return int(value)


def label(value: Any, field: str) -> bool:
    """A label: true or false, which some files write as 1 and 0."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    shown = repr(value) if isinstance(value, str | int | float) else named(value)
    raise DataError(f"expected true or false (or 1 or 0), found {shown}", field=field)


def string(value: Any, field: str) -> str | None:
    """A string that may be left out."""
    if value is None or isinstance(value, str):
        return value
    raise DataError(f"expected a string, found {named(value)}", field=field)


def rules(value: Any, field: str) -> tuple[str, ...]:
    """Guardrails: a list of sentences; one string counts a line as one rule."""
    if isinstance(value, str):
        value = [line.strip() for line in value.splitlines() if line.strip()]
    if not isinstance(value, list | tuple):
        raise DataError(f"expected a list of rules, each a string, found {named(value)}", field=field)
    for i, rule in enumerate(value):
        if not isinstance(rule, str) or not rule.strip():
            raise DataError("expected a rule in words", field=f"{field}[{i}]")
    return tuple(value)


def said(prompt: tuple[Message, ...], extras: Mapping[str, Any]) -> Dialogue:
    """A dialogue of these messages with the row's guardrails, tools and meta."""
    return Dialogue(prompt, **extras)
