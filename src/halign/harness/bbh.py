"""The multiple-choice tasks of BIG-Bench Hard (Suzgun and others, arXiv 2210.09261): those that list their options as letters."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from halign.errors import DataError
from halign.harness.choices import Question
from halign.readers.files import rows_of

OPTION = re.compile(r"^\(([A-Z])\) ", re.MULTILINE)


def read(file: str | Path, *, shots: int = 3, limit: int | None = None) -> list[Question]:
    """Questions whose choices are "(A)", "(B)" ...; the first ``shots`` of every task are solved before each of its others.

    Args:
        file: rows {"task", "input", "target"}.
        limit: of every task, after its examples.

    Raises:
        DataError: a row without these fields.
        HalignError: no such file.
    """
    tasks: dict[str, list[dict[str, Any]]] = {}
    for number, row in rows_of(str(file)).rows:
        for name in ("task", "input", "target"):
            if not isinstance(row.get(name), str):
                raise DataError(
                    'expected {"task", "input", "target"}', file=str(file), line=number, field=name
                )
        tasks.setdefault(row["task"], []).append(row)
    return [question for rows in tasks.values() for question in _questions(rows, shots)[:limit]]


def _questions(rows: list[dict[str, Any]], shots: int) -> list[Question]:
    """None where the answers are no options."""
    if not all(row["target"] in options(row["input"]) for row in rows):
        return []
    solved = "".join(f"{_asked(row)} {row['target']}\n\n" for row in rows[:shots])
    return [
        Question(
            solved + _asked(row), found, frozenset([found.index(row["target"])]), f"{row['task']}-{number}"
        )
        for number, row in enumerate(rows[shots:])
        for found in (options(row["input"]),)
    ]


def options(text: str) -> tuple[str, ...]:
    """
    >>> options("Which is it?\\nOptions:\\n(A) this\\n(B) that")
    ('(A)', '(B)')
    """
    return tuple(f"({letter})" for letter in OPTION.findall(text))


def _asked(row: dict[str, Any]) -> str:
    return f"Q: {row['input']}\nA:"
