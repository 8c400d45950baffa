"""A file that grows by lines, read as it grows."""

from __future__ import annotations

from pathlib import Path
from typing import IO, NamedTuple

REMEMBERED = 256
"""Bytes before the place that was read up to, by which a file is known again."""


class More(NamedTuple):
    """What a look at a file found.

    Attributes:
        anew: the file is not the one that was read before, or was cut: what was read does not count any more.
        lines: (number from 1, line without its end) of those that are new and not empty.
    """

    anew: bool
    lines: list[tuple[int, bytes]]


class Tail:
    """The lines of a growing file, each read once; a last line without its end waits for it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._at = self._inode = self._number = 0
        self._before = b""

    def more(self) -> More:
        """Read on. A file that became shorter, was replaced, or says something else before that place, is read from its start."""
        try:
            with self.file.open("rb") as file:
                return self._read(file)
        except FileNotFoundError:
            return More(False, [])

    def _read(self, file: IO[bytes]) -> More:
        inode = self.file.stat().st_ino
        anew = self._number > 0 and (inode != self._inode or not self._is_known(file))
        if anew or not self._number:
            self._at, self._number, self._before, self._inode = 0, 0, b"", inode
        file.seek(self._at)
        whole, end, _ = file.read().rpartition(b"\n")
        if not end:
            return More(anew, [])
        lines = whole.split(b"\n")
        first = self._number + 1
        self._number += len(lines)
        self._at += len(whole) + 1
        self._before = (self._before + whole + end)[-REMEMBERED:]
        return More(anew, [(n, line) for n, line in enumerate(lines, first) if line.strip()])

    def _is_known(self, file: IO[bytes]) -> bool:
        file.seek(self._at - len(self._before))
        return file.read(len(self._before)) == self._before
