"""The one exception type that users are meant to read: what is wrong, where, and the way out."""

from __future__ import annotations


class HalignError(Exception):
    """A mistake in data, settings or model that the user can mend. The command line prints it without a traceback."""


class DataError(HalignError):
    """A bad row. Names file, line and field, and says what was expected.

    >>> str(DataError("no such role", file="a.jsonl", line=3, field="messages[0].role"))
    'a.jsonl:3: messages[0].role: no such role'
    """

    def __init__(self, problem: str, *, file: str = "", line: int | None = None, field: str = "") -> None:
        self.problem, self.file, self.line, self.field = problem, file, line, field
        place = f"{file}:{line}" if line is not None else file
        super().__init__(": ".join(part for part in (place, field, problem) if part))
