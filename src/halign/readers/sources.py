"""One source of rows, and how files are opened."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halign.errors import DataError
from halign.readers import characters

Rows = Iterator[tuple[int, Any]]
"""(line, row): the line of a text file, else the number of the row, from 1."""

DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What reading a file that was cut short or changed raises."""
PACKED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bzip2", ".xz": "xz"}


class BadLine:
    """A line that holds no row: yielded in place of one, so that ``skip_bad`` can go on with the next."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class Cells(dict[str, Any]):
    """A row of a table of text, whose numbers and lists are still written out (``cells.typed``)."""


@dataclass
class Source:
    """Rows, and where they come from.

    Attributes:
        name: of the whole source.
        file: where the row read last stands, if the source has several files.
        note: how it was read, where that was found out ("separated by ';'").
    """

    name: str
    rows: Rows = field(default_factory=lambda: iter(()))
    file: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        self.file = self.file or self.name


def open_binary(path: Path) -> Any:
    """The file's bytes, unpacked if they are gzip, zstd, bzip2 or xz, whatever the name says."""
    file = path.open("rb")
    magic = file.read(6)
    file.seek(0)
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(file)
    if magic.startswith(b"BZh"):
        return bz2.open(file)
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(file)
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file), "zstd"))
    return file


def binary_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(number, line) of a text file, split at line feeds only; a byte-order mark is left out.

    Raises:
        DataError: if the file is damaged, or is not written in bytes that a line can be found in (UTF-16).
    """
    number = 0
    with open_binary(path) as file:
        lines = iter(file)
        while True:
            try:
                line = next(lines, None)
            except DAMAGED as e:
                raise damaged(path, e, number) from None
            if line is None:
                return
            number += 1
            if number == 1:
                line = _unmarked(line, path)
            yield number, line


def text_lines(path: Path, encoding: str | None) -> Iterator[tuple[int, str]]:
    """(number, line) of a text file in this encoding; None is UTF-8.

    Raises:
        DataError: if the file is damaged, or not in that encoding.
    """
    if encoding is None:
        for number, line in binary_lines(path):
            try:
                yield number, line.decode()
            except UnicodeDecodeError as e:
                problem = characters.not_utf8(line, e.start)
                raise DataError(problem, file=str(path), line=number) from None
        return
    number = 0
    with open_binary(path) as file:
        lines = io.TextIOWrapper(file, encoding=encoding, newline="\n")
        while True:
            try:
                text = next(lines, None)
            except UnicodeError as e:  # UTF-16 has errors of its own for a missing mark
                raise DataError(
                    f"not {encoding} ({e}); name another --encoding", file=str(path), line=number + 1
                ) from None
            except DAMAGED as e:
                raise damaged(path, e, number) from None
            if text is None:
                return
            number += 1
            yield number, text.removeprefix("\ufeff") if number == 1 else text


def _unmarked(line: bytes, path: Path) -> bytes:
    """The first line without UTF-8's byte-order mark; another's is an error."""
    if (encoding := characters.marked(line)) is not None:
        said = f"{encoding.upper()}, says its byte-order mark; read it with --encoding {encoding} (encoding= in Python)"
        raise DataError(said, file=str(path), line=1)
    return line.removeprefix(b"\xef\xbb\xbf")


def damaged(path: Path, error: BaseException, line: int | None = None) -> DataError:
    """The error for a file that ends too early or was changed."""
    where = " after this line" if line is not None else ""
    return DataError(
        f"the file is cut short or damaged{where} ({error}); fetch it again", file=str(path), line=line
    )
