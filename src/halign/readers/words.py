"""Words of error messages: what a value is, and what was meant."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any


def named(value: Any) -> str:
    """What a value is, in the words of JSON.

    >>> named(3), named([]), named(None)
    ('a number', 'a list', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    kinds = {
        str: "a string",
        int: "a number",
        float: "a number",
        list: "a list",
        tuple: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), type(value).__name__)


def hint(word: str, known: Any, cutoff: float = 0.6) -> str:
    """A question that names the nearest known word, or nothing.

    >>> hint("reject", ["chosen", "rejected"])
    " (did you mean 'rejected'?)"
    """
    near = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" (did you mean {near[0]!r}?)" if near else ""
