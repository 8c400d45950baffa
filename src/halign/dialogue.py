"""What was said: messages and dialogues.

>>> d = Dialogue.of([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}])
>>> [m.role for m in d.messages], d[:1].messages[0].content
(['user', 'assistant'], 'Hi')
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

RAW = "raw"
"""The role of text that no chat template wraps (plain-text data sets)."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``extra`` holds what else a template may know (name, tool_calls, reasoning_content ...)."""

    role: str
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Message | Mapping[str, Any]) -> Message:
        """A message from a dict with ``role`` and ``content``; other keys become ``extra``.

        Raises:
            KeyError: if ``role`` or ``content`` is missing.
        """
        if isinstance(value, Message):
            return value
        extra = {k: v for k, v in value.items() if k not in ("role", "content")}
        return cls(value["role"], value["content"], extra)

    def to_dict(self) -> dict[str, Any]:
        """The dict that chat templates and JSONL files take."""
        return {"role": self.role, "content": self.content, **self.extra}


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
