"""Rows of tables: CSV and TSV, parquet."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from halign.errors import DataError
from halign.readers.sources import BadLine, Cells, Rows, text_lines

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SAMPLE = 200
"""Lines that the separator is found from."""
FIELD_LIMIT = 1 << 30
"""Characters of one cell; the csv module's own limit, 131,072, is less than a long conversation."""
LONG_NAME = 100
"""Characters of a column's name above which a first line is taken for a row."""
BATCH = 1024
"""Rows of a parquet file that are in memory at a time."""


def table(path: Path, encoding: str | None, tabs: bool) -> tuple[Rows, str]:
    """(rows, how the table was read) of a CSV or TSV file, which has to open with the columns' names.

    Raises:
        DataError: if it has no header, or is damaged.
    """
    lines = (text for _, text in text_lines(path, encoding))
    sample = list(itertools.islice(lines, SAMPLE))
    before = 0
    if sample and sample[0].lower().startswith("sep="):  # Excel's note
        separator, before, sample = sample[0].strip()[4:], 1, sample[1:]
    else:
        separator = "\t" if tabs else _separator(sample, path)
    csv.field_size_limit(max(csv.field_size_limit(), FIELD_LIMIT))
    reader = csv.reader(itertools.chain(sample, lines), delimiter=separator)
    try:
        header = next(reader, [])
    except csv.Error as e:
        raise DataError(f"no header: {e}", file=str(path), line=1) from None
    _check_header(header, path, before + 1)
    rows = _rows(reader, header, before, SEPARATORS.get(separator, repr(separator)))
    return rows, f"a table separated by {SEPARATORS.get(separator, repr(separator))}"


def _separator(sample: list[str], path: Path) -> str:
    """What separates the cells: the one that gives all rows of the sample as many cells as the header.

    Raises:
        DataError: if two fit equally well.
    """
    widths = {}
    for separator in SEPARATORS:
        try:
            rows = [row for row in csv.reader(sample, delimiter=separator) if row]
        except csv.Error:
            continue
        if rows and len(rows[0]) > 1:
            same = sum(len(row) == len(rows[0]) for row in rows[:-1]) + 1
            widths[separator] = (same / len(rows), len(rows[0]))
    if not widths:
        return ","
    best = max(share for share, _ in widths.values())
    fit = [s for s, (share, _) in widths.items() if share == best]
    if len(fit) > 1:
        said = " and ".join(f"{SEPARATORS[s]} ({widths[s][1]} columns)" for s in fit)
        raise DataError(
            f"cannot tell what separates the cells: {said} both fit; put a line sep=, (or another) first",
            file=str(path),
            line=1,
        )
    return fit[0]


def _check_header(header: list[str], path: Path, line: int) -> None:
    """Raises DataError if the first row cannot be the columns' names."""
    problem = ""
    if not header:
        problem = "no rows"
    elif "" in (names := [name.strip() for name in header]):
        problem = f"column {names.index('') + 1} has no name"
    elif len(set(names)) < len(names):
        problem = f"two columns are called {next(n for n in names if names.count(n) > 1)!r}"
    elif long := [n for n in names if len(n) > LONG_NAME or "\n" in n]:
        problem = f"this is no column's name: {long[0][:40]!r}..."
    if problem:
        raise DataError(f"{problem}; the first line has to name the columns", file=str(path), line=line)


def _rows(reader: Iterator[list[str]], header: list[str], before: int, separator: str) -> Rows:
    """(line that the row begins in, row); a row of another width, or one that csv cannot read, is a bad one."""
    names = [name.strip() for name in header]
    while True:
        line = reader.line_num + before + 1  # type: ignore[attr-defined]
        try:
            row = next(reader, None)
        except csv.Error as e:
            yield line, BadLine(f"not a row of a table: {e}")
            continue
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(names):
            hint = f'; a cell that holds {separator}, quotes or line breaks stands in "..."'
            yield line, BadLine(f"{len(row)} cells, the header has {len(names)}{hint}")
        elif nul := [name for name, cell in zip(names, row, strict=True) if "\x00" in cell]:
            yield line, BadLine(f"{nul[0]}: a NUL (\\u0000), which no text holds; remove it")
        else:
            yield line, Cells(zip(names, row, strict=True))


def parquet(path: Path) -> Rows:
    """Rows of a parquet file, nested columns as lists and objects; a batch in memory at a time."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        file = pq.ParquetFile(path)
    except (ArrowException, OSError) as e:
        raise DataError(f"not a whole parquet file ({e}); fetch it again", file=str(path)) from None
    batches = file.iter_batches(batch_size=BATCH)
    return enumerate((row for batch in batches for row in batch.to_pylist()), 1)
