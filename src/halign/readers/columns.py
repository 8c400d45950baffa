"""Columns under other names: ``{"prompt": "question", "chosen": "answers[0].text"}``.

Left stands a column that a format knows, right where its value is found: a column, a field of an object (``a.b``), an item of
a list (``a[0]``, ``a[-1]``). ``system``, ``user`` and ``assistant`` on the left make chat messages of plain texts:

>>> renamed = Columns({"user": "question", "chosen": "answers[0].text", "rejected": "answers[1].text"})
>>> renamed({"question": "Hi", "answers": [{"text": "Hello"}, {"text": "No"}], "source": "x"})
{'source': 'x', 'chosen': 'Hello', 'rejected': 'No', 'prompt': [{'role': 'user', 'content': 'Hi'}]}

A column that was used, if only in part, is left out of ``meta``; so is one whose name another has been given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from halign.errors import DataError, HalignError
from halign.readers import fields
from halign.readers.sources import Cells

ROLES = ("system", "user", "assistant")
STEP = re.compile(r"\[(-?\d+)\]|\.?([^.\[\]]+)")


def parse_columns(text: str) -> dict[str, str]:
    """The mapping that the command line writes as ``prompt=question,chosen=best``.

    >>> parse_columns("prompt=question, chosen=answers[0].text")
    {'prompt': 'question', 'chosen': 'answers[0].text'}

    Raises:
        HalignError: if it is not of that form, or names a column twice.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, path = (s.strip() for s in part.partition("="))
        if not (name and equals and path):
            raise HalignError(
                f"--columns {part.strip()!r}: expected name=column, as in prompt=question,chosen=best"
            )
        if name in found:
            raise HalignError(f"--columns: {name!r} is given twice")
        found[name] = path
    return found


class Columns:
    """Renames the columns of rows.

    Args:
        mapping: name -> path.
        known: the names that formats know.

    Raises:
        HalignError: if a name is none of them, a path cannot be read, or roles come with what they make.
    """

    def __init__(self, mapping: Mapping[str, str], known: Collection[str] | None = None) -> None:
        for name in mapping:
            if known is not None and name not in known and name not in ROLES:
                raise HalignError(
                    f"columns: no format knows {name!r}{fields.hint(name, [*known, *ROLES])}; write name=column, the"
                    " known name first"
                )
        self.paths = {name: (path, _steps(path)) for name, path in mapping.items()}
        self.chat = [role for role in ROLES if role in mapping]
        made = "messages" if "assistant" in mapping else "prompt"
        if self.chat and "user" not in mapping:
            raise HalignError(f"columns: {self.chat[0]!r} needs 'user' beside it")
        if self.chat and made in mapping:
            raise HalignError(f"columns: 'user' makes {made!r}, which is given too; drop one")
        self.made = made

    def __call__(self, row: fields.Row) -> fields.Row:
        """The row with its columns renamed.

        Raises:
            DataError: if something is not where a path says.
        """
        found = {name: _at(row, path, steps) for name, (path, steps) in self.paths.items()}
        used = {steps[0] for _, steps in self.paths.values()}
        if any(path in row for path, _ in self.paths.values()):
            used |= {path for path, _ in self.paths.values()}
        if self.chat:
            said = [{"role": role, "content": found.pop(role)} for role in self.chat]
            found[self.made] = [m for m in said if m["content"] not in (None, "") or m["role"] != "system"]
        kept = {k: v for k, v in row.items() if k not in used and k not in found}
        return (Cells if isinstance(row, Cells) else dict)({**kept, **found})


def _steps(path: str) -> list[str | int]:
    """The names and numbers of a path."""
    steps: list[str | int] = []
    at = 0
    while at < len(path):
        match = STEP.match(path, at)
        if match is None:
            raise HalignError(f"columns: cannot read {path!r}; write column, column.field or column[0]")
        steps.append(match[2] if match[1] is None else int(match[1]))
        at = match.end()
    if not steps or isinstance(steps[0], int):
        raise HalignError(f"columns: {path!r} does not begin with a column")
    return steps


def _at(row: fields.Row, path: str, steps: list[str | int]) -> Any:
    """The value at a path. A column that is called like the whole path goes first."""
    if path in row:
        return row[path]
    value: Any = row
    for i, step in enumerate(steps):
        if i and isinstance(row, Cells) and isinstance(value, str):
            value = _json(value)
        if value is None:
            return None
        if isinstance(step, int):
            there = isinstance(value, list | tuple) and -len(value) <= step < len(value)
        else:
            there = isinstance(value, Mapping) and step in value
        if not there:
            raise DataError(_missing(step, value), field=path)
        value = value[step]
    return value


def _missing(step: str | int, value: Any) -> str:
    """What is there instead."""
    if isinstance(step, int):
        held = f"a list of {len(value)}" if isinstance(value, list | tuple) else fields.named(value)
        return f"there is no item [{step}]: this is {held}"
    if isinstance(value, Mapping):
        names = [str(k) for k in value]
        return f"there is no {step!r} here{fields.hint(step, names)}: {', '.join(names)}"
    return f"there is no {step!r} here: this is {fields.named(value)}"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
