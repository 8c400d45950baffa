"""Dialogues as a chat endpoint takes them."""

from __future__ import annotations

import json
from typing import Any

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import HalignError
from halign.template import Guardrails


def chat_messages(dialogue: Dialogue, guardrails: Guardrails) -> tuple[dict[str, Any], ...]:
    """The messages of a request: guardrails in the system message by the template that training uses, notes left out.

    Raises:
        HalignError: the dialogue is plain text, which a chat endpoint cannot continue.
    """
    if any(m.role == RAW for m in dialogue.messages):
        raise HalignError(
            "this prompt is plain text without roles, and a chat endpoint takes messages: write it as "
            '[{"role": "user", "content": "..."}]'
        )
    return tuple(_as_dict(m) for m in guardrails.apply(dialogue))


def _as_dict(message: Message) -> dict[str, Any]:
    said = {"role": message.role, "content": message.content, **message.spoken}
    if "tool_calls" in said:
        said["tool_calls"] = [_with_text(call) for call in said["tool_calls"]]
    return said


def _with_text(call: Any) -> Any:
    """A tool call with its arguments as JSON text, which is how endpoints take them."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or isinstance(function.get("arguments"), str):
        return call
    return {**call, "function": {**function, "arguments": json.dumps(function.get("arguments") or {})}}
