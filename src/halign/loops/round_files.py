"""The files of a round, written a chunk of prompts at a time, so that a kill loses at most the chunk at work.

samples.jsonl   prompts and the replies drawn for them   judged.jsonl   rewards and comparisons, row by row of samples.jsonl
data.jsonl      the examples built of both (canonical)   run/           the run folder of the training

On several ranks the main one reads and writes; each makes its share of a chunk, and all know all rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from halign.processes import Processes
from halign.run_folder import write_text

Row = dict[str, Any]
Make = Callable[[int, range], list[Row]]
"""(place of a chunk's first row, places of some of its rows, among all rows) -> those rows."""


class Chunked:
    """JSON rows that are made in chunks of a fixed size and appended, each chunk whole.

    Args:
        total: rows there are to be in the end.
        chunk: rows that are made at once.
        processes: those that make them.
    """

    def __init__(self, path: Path, total: int, chunk: int, processes: Processes) -> None:
        self.path, self.total, self.chunk, self.processes = path, total, chunk, processes

    def rows(self) -> list[Row]:
        """The rows of whole chunks. What a dying process left of another is dropped, from the file too."""
        return self.processes.by_main(self._read)

    def _read(self) -> list[Row]:
        if not self.path.exists():
            return []
        text = self.path.read_text(encoding="utf-8")
        lines = text.split("\n")[:-1]
        whole = len(lines) if len(lines) == self.total else len(lines) // self.chunk * self.chunk
        kept = "".join(f"{line}\n" for line in lines[:whole])
        if kept != text:
            write_text(self.path, kept)
        return [json.loads(line) for line in lines[:whole]]

    def fill(self, make: Make, after: Callable[[int], None]) -> list[Row]:
        """All rows: those that are there, and the rest from ``make``, a chunk at a time.

        Args:
            after: called with the number of rows that are there, at first and after each chunk; it may raise, on all ranks.
        """
        rows = self.rows()
        after(len(rows))
        for start in range(len(rows), self.total, self.chunk):
            count = min(self.chunk, self.total - start)
            new = self.processes.shared(count, partial(_part, make, start))
            if len(new) != count:
                raise ValueError(f"{self.path.name}: {len(new)} rows were made of {count}")
            self.processes.by_main(partial(self._append, new))
            rows += new
            after(len(rows))
        return rows

    def _append(self, rows: list[Row]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with self.path.open("ab") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())


def _part(make: Make, start: int, places: range) -> list[Row]:
    """Rows at some places of the chunk that begins at ``start``."""
    return make(start, range(start + places.start, start + places.stop))
