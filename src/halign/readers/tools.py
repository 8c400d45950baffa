"""Tools: their descriptions, and calls of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from halign.errors import DataError
from halign.readers.words import named


def tool_calls(value: Any, field: str) -> None:
    """Checks calls of tools: ``[{"type": "function", "function": {"name", "arguments"}}]``, or the inner objects alone."""
    if not isinstance(value, list | tuple):
        raise DataError(f"expected a list of calls, found {named(value)}", field=field)
    for i, call in enumerate(value):
        inner = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str) or not inner["name"]:
            raise DataError('expected {"function": {"name", "arguments"}}', field=f"{field}[{i}]")


def function_call(value: Any, field: str) -> dict[str, Any]:
    """OpenAI's older ``function_call`` of a message as a call of a tool."""
    if not isinstance(value, Mapping):
        raise DataError(f'expected an object {{"name", "arguments"}}, found {named(value)}', field=field)
    return {"type": "function", "function": dict(value)}


def functions(value: Any) -> tuple[Mapping[str, Any], ...]:
    """OpenAI's older ``functions`` as descriptions of tools."""
    if not isinstance(value, list | tuple) or not all(isinstance(f, Mapping) for f in value):
        raise DataError("expected a list of functions, each a JSON schema", field="functions")
    return tuple({"type": "function", "function": f} for f in value)


def tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Tool descriptions: a list of JSON schemas, or the same as one JSON string."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise DataError(
                "expected a list of JSON schemas; this string is not JSON", field="tools"
            ) from None
    if not isinstance(value, list | tuple) or not all(isinstance(t, Mapping) for t in value):
        raise DataError("expected a list of JSON schemas", field="tools")
    return tuple(value)
