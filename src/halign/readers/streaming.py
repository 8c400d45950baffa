"""Rows -> examples, one at a time: what ``read`` and ``stream`` share."""

from __future__ import annotations

from collections.abc import Iterator

from halign.errors import DataError
from halign.examples import Example
from halign.readers.rows import Options, RowParser
from halign.readers.sources import BadLine, Source


class Stream(Iterator[Example]):
    """Examples of a source, read as they are asked for.

    Attributes:
        source: path, or what else the rows come from.
        format: format of the rows, '' before the first.
        why: how that was seen.
        skipped: the bad rows left out so far, with file, line and field.
    """

    def __init__(self, source: Source, options: Options, *, skip_bad: bool = False) -> None:
        self.source, self.format, self.skipped = source.name, "", list[DataError]()
        self._rows, self._parse, self._skip_bad = source, RowParser(options), skip_bad
        self._examples = self._read()

    @property
    def why(self) -> str:
        """How the format was seen, and how the source was read where that was found out."""
        return "; ".join(part for part in (self._parse.why, self._rows.note) if part)

    def __iter__(self) -> Iterator[Example]:
        return self._examples

    def __next__(self) -> Example:
        return next(self._examples)

    def _read(self) -> Iterator[Example]:
        """The examples; raises DataError with file, line and field at a bad row, unless those are skipped."""
        begun = 0
        for line, row in self._rows.rows:
            try:
                if type(row) is BadLine:
                    raise DataError(row.problem)
                name, example = self._parse(row)
                if not begun:
                    self.format, begun = name, line
                elif name != self.format:
                    raise DataError(
                        f"this row is of the format {name!r}, line {begun} is {self.format!r}: a file holds one"
                        " format"
                    )
            except DataError as e:
                self._bad(e, line)
            else:
                yield example
        if not begun:
            first = f" but {len(self.skipped)} bad ones, the first: {self.skipped[0]}" if self.skipped else ""
            raise DataError(f"no rows{first}", file=self.source)

    def _bad(self, error: DataError, line: int) -> None:
        bad = DataError(error.problem, file=self._rows.file, line=line, field=error.field)
        if not self._skip_bad:
            raise bad from None
        self.skipped.append(bad)
