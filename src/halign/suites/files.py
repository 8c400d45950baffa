"""Where the files of evaluation sets are: what ``--data`` names, else ``$HALIGN_DATA``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.errors import DataError, HalignError
from halign.readers.files import rows_of
from halign.readers.sources import PACKED, BadLine

FOLDERS = ("", "eval", "instructions", "preferences", "care")
"""Folders below a data folder that are looked in."""


@dataclass(frozen=True)
class SetFile:
    """One file of a set.

    Attributes:
        names: what it may be called, packed or not.
        source: where it is to be had.
        optional: True if the set does without it.
    """

    names: tuple[str, ...]
    source: str
    optional: bool = False


@dataclass(frozen=True)
class Files:
    """The files of one set.

    Attributes:
        suite: its name, for errors.
        data: the file of the questions, or a folder; None: only ``$HALIGN_DATA`` is looked in.
    """

    suite: str
    known: Mapping[str, SetFile]
    data: Path | None = None

    def path(self, key: str) -> Path | None:
        """The file; None if it is optional and not there.

        Raises:
            HalignError: it is nowhere to be found; says where it was looked for and where to get it.
        """
        wanted = self.known[key]
        if self.data is not None and not self.data.exists():
            raise HalignError(f"--data {self.data}: no such file or folder")
        if self.data is not None and self.data.is_file() and key == next(iter(self.known)):
            return self.data
        for folder in self._folders():
            for name in wanted.names:
                for candidate in (name, *(name + suffix for suffix in PACKED)):
                    if (folder / candidate).is_file():
                        return folder / candidate
        if wanted.optional:
            return None
        looked = ", ".join(map(str, self._roots())) or "nowhere: neither --data nor HALIGN_DATA is set"
        raise HalignError(
            f"{self.suite}: no file {' or '.join(wanted.names) or 'of questions'} (looked in {looked}). "
            f"Get it from {wanted.source}, and name the file or its folder with --data"
        )

    def rows(self, key: str) -> Iterator[dict[str, Any]]:
        """The rows of a file; none where it is optional and not there.

        Raises:
            DataError: a line that is no row.
        """
        path = self.path(key)
        for line, row in rows_of(path).rows if path is not None else ():
            if isinstance(row, BadLine) or not isinstance(row, Mapping):
                said = row.problem if isinstance(row, BadLine) else "expected a row"
                raise DataError(said, file=str(path), line=line)
            yield dict(row)

    def of_fields(self, key: str, fields: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The rows, each of which has these fields.

        Raises:
            DataError: one has not.
        """
        for number, row in enumerate(self.rows(key), 1):
            for name in fields:
                if name not in row:
                    raise DataError(
                        f"missing; {self.suite} reads {', '.join(fields)}",
                        file=str(self.path(key)),
                        line=number,
                        field=name,
                    )
            yield row

    def _roots(self) -> list[Path]:
        given = [] if self.data is None else [self.data if self.data.is_dir() else self.data.parent]
        variable = os.environ.get("HALIGN_DATA")
        return given + ([Path(variable)] if variable else [])

    def _folders(self) -> list[Path]:
        return [root / below for root in self._roots() for below in FOLDERS]
