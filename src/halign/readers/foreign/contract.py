"""What a format of somebody else's is: how its rows are recognised, and the canonical row that each becomes.

One file of this folder holds one publisher's formats. It sees a row as it was published and returns a canonical one
(``halign.readers.rows``), which is then read, and checked, like all others. Columns that it does not name go to ``meta``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from halign.errors import DataError
from halign.readers import fields

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Foreign:
    """One format.

    Attributes:
        name: what ``format=`` calls it.
        title: what people call it, and where it comes from.
        needs: columns that its rows must have.
        reads_as: the canonical format that its rows become.
        sees: what in the values of a row that has these columns shows that it is this format; '' if they do not.
        row: the canonical row. Raises DataError with the field.
        takes: columns it uses where they are there.
        over: formats that fit its rows too and say less of them.
        renamed: (pattern, replacement) pairs that make of a canonical field's name the file's own, for errors.
        numbers: columns of numbers, which a CSV file writes out.
        lists: columns that hold lists or objects, never text; a CSV file holds them as JSON.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    reads_as: str
    sees: Callable[[Row], str]
    row: Callable[[Row], dict[str, Any]]
    takes: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    numbers: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()

    def field(self, name: str) -> str:
        """A canonical field's name as the file says it."""
        for pattern, replacement in self.renamed:
            name = re.sub(pattern, replacement, name)
        return name


def is_list(value: Any) -> bool:
    """True for a non-empty list of objects."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, Mapping) for v in value)


def all_text(row: Row, *names: str) -> bool:
    """True if these columns hold text."""
    return all(isinstance(row.get(n), str) for n in names)


def text(row: Row, name: str, field: str | None = None) -> str:
    """The text of a column that must be there and must say something."""
    field = field or name
    if name not in row:
        try:
            fields.required(row, name)
        except DataError as e:
            raise DataError(e.problem, field=field) from None
    value = row[name]
    if not isinstance(value, str):
        raise DataError(f"expected a string, found {fields.named(value)}", field=field)
    if not value.strip():
        raise DataError("this text is empty; remove the row", field=field)
    return value


def user(content: str) -> list[dict[str, Any]]:
    """A prompt of one user message."""
    return [{"role": "user", "content": content}]


def whole(value: Any, field: str, low: int, high: int) -> int:
    """A whole number in [low, high]."""
    number = fields.number(value, field, low, high)
    if number != int(number):
        raise DataError(f"expected a whole number, found {value}", field=field)
    return int(number)


def rating(value: Any) -> float | None:
    """The number that a rating says, written out or not; None for N/A."""
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
