"""Cells of text tables -> values: what a column holds, its name says.

A cell that is empty holds nothing. Columns of numbers become numbers. Lists and objects are written as JSON in their cells; a
text stays one even if it looks like JSON, unless its column never holds text, or it is a list of messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from halign.readers.foreign import FOREIGN
from halign.readers.sources import Cells

NUMBERS = {"label", "score", "weight", "preference", "chosen_win_rate", "rejected_win_rate"}
NUMBERS |= {name for f in FOREIGN.values() for name in f.numbers}
NUMBER = re.compile(r"-?\d+(\.\d*)?([eE][-+]?\d+)?")
TRUTHS = {"true": True, "false": False}
LISTS = {"messages", "responses", "guardrails", "tools", "meta", "turns", "attributes"}
LISTS |= {name for f in FOREIGN.values() for name in f.lists}


def typed(row: Cells) -> dict[str, Any]:
    """The row with the values that its cells write out; empty ones are left out.

    >>> typed(Cells(prompt="2+2=", completion="4", label="1", score="", guardrails='["Be kind."]'))
    {'prompt': '2+2=', 'completion': '4', 'label': 1, 'guardrails': ['Be kind.']}
    """
    return {k: _value(k, v) if isinstance(v, str) else v for k, v in row.items() if v not in ("", None)}


def _value(name: str, cell: str) -> Any:
    if name in NUMBERS:
        return _number(cell.strip())
    if cell.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(cell)
        except ValueError:
            return cell
        if name in LISTS or _is_messages(value):
            return value
    return cell


def _number(cell: str) -> Any:
    """A number, or a truth; the cell itself if it is neither."""
    if cell.lower() in TRUTHS:
        return TRUTHS[cell.lower()]
    if not NUMBER.fullmatch(cell):
        return cell
    return int(cell) if cell.lstrip("-").isdigit() else float(cell)


def _is_messages(value: Any) -> bool:
    """True for a list of messages, or one."""
    if isinstance(value, Mapping):
        return {"role", "content"} <= value.keys()
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(m, Mapping) and ({"role", "content"} <= m.keys() or {"from", "value"} <= m.keys())
            for m in value
        )
    )
