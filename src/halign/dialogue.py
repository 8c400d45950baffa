"""What was said: messages and dialogues.

>>> d = Dialogue.of([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}])
>>> [m.role for m in d.messages], d[:1].messages[0].content
(['user', 'assistant'], 'Hi')
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

RAW = "raw"
"""The role of text that no chat template wraps (plain-text data sets)."""


Spans = tuple[tuple[int, int], ...]
"""Ranges [start, end) of a text's characters, in order, apart from each other."""

NOTES = frozenset(
    (
        *("attributes", "feedback", "score", "violates", "learn"),
        *("prior_logp", "behaviour_logp", "attribute_logp"),
    )
)
"""Keys of ``Message.extra`` that say something about a message; chat templates never see them."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Attributes:
        extra: what else a template may know (name, tool_calls, reasoning_content ...), and ``NOTES``, which it does not get:
            ``attributes`` (name -> number) and ``feedback`` (what somebody said about this turn) among them.
        learn: which characters of the content are learnt where this turn is trained on; None: all. The end of the turn is
            learnt if the last range reaches the end of the content.
    """

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    learn: Spans | None = None

    @classmethod
    def of(cls, value: Message | Mapping[str, Any]) -> Message:
        """A message from a dict with ``role``, ``content`` and ``learn``; other keys become ``extra``.

        Raises:
            KeyError: if ``role`` or ``content`` is missing.
        """
        if isinstance(value, Message):
            return value
        extra = {k: v for k, v in value.items() if k not in ("role", "content", "learn")}
        learn = value.get("learn")
        spans = None if learn is None else tuple((int(a), int(b)) for a, b in learn)
        return cls(value["role"], value["content"], extra, spans)

    def to_dict(self) -> dict[str, Any]:
        """The dict that JSONL files take."""
        learn = {} if self.learn is None else {"learn": [list(span) for span in self.learn]}
        return {"role": self.role, "content": self.content, **self.extra, **learn}

    @property
    def spoken(self) -> dict[str, Any]:
        """What a chat template gets of ``extra``. Arguments of tool calls that came as JSON text are objects there: templates
        write them with ``tojson``, which would quote the text once more."""
        said = {k: v for k, v in self.extra.items() if k not in NOTES}
        if "tool_calls" in said:
            said["tool_calls"] = [_with_object(call) for call in said["tool_calls"]]
        return said

    @property
    def words(self) -> tuple[str, str]:
        """What tells two messages apart: the content, and the tool calls as text."""
        calls = self.extra.get("tool_calls")
        return self.content, json.dumps(calls, sort_keys=True, default=str) if calls else ""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation, or the part of one that is a prompt.

    Attributes:
        messages: the turns, in order.
        guardrails: the rules in force, each one sentence. Rendering puts them into the system message by one
            template; they are kept apart here so that truncation and judging can find them.
        tools: tool descriptions (JSON schemas) for templates that know them.
        meta: what a world or a data set wants to carry along (facts, domain); never rendered.
    """

    messages: tuple[Message, ...]
    guardrails: tuple[str, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, messages: Iterable[Message | Mapping[str, Any]] | str, **fields: Any) -> Dialogue:
        """A dialogue from messages, dicts, or one plain string (which becomes a single raw message)."""
        if isinstance(messages, str):
            return cls((Message(RAW, messages),), **fields)
        return cls(tuple(Message.of(m) for m in messages), **fields)

    @property
    def is_raw(self) -> bool:
        """True if no chat template applies."""
        return all(m.role == RAW for m in self.messages)

    def __getitem__(self, turns: slice) -> Dialogue:
        """The same dialogue with only some of its turns."""
        return replace(self, messages=self.messages[turns])

    def __add__(self, message: Message) -> Dialogue:
        """The dialogue continued by one message."""
        return replace(self, messages=(*self.messages, message))

    def __len__(self) -> int:
        return len(self.messages)


def called(message: Message) -> list[str]:
    """Names of the functions that a message calls.

    >>> called(Message("assistant", "", {"tool_calls": [{"type": "function", "function": {"name": "find"}}]}))
    ['find']
    """
    return [tool_name(call) for call in message.extra.get("tool_calls") or ()]


def tool_name(value: Mapping[str, Any]) -> str:
    """The function's name in a call, or in a tool's description."""
    return str(value.get("function", value).get("name", ""))


def _with_object(call: Any) -> Any:
    """A tool call whose arguments are an object, where they can be read as one."""
    if not isinstance(call, Mapping):
        return call
    if isinstance(call.get("function"), Mapping):
        return {**call, "function": _with_object(call["function"])}
    arguments = call.get("arguments")
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else None
    except ValueError:
        return call
    return {**call, "arguments": found} if isinstance(found, dict) else call
