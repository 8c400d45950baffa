"""What is new in files that are still being written: runs and folders of verdicts, followed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.judges.records import FACTS, ITEMS, VERDICTS
from halign.reporting.books import Books
from halign.reporting.evidence import CONFIG, METRICS, Evidence, Training, is_metrics
from halign.reporting.judging_followed import JudgingFollowed
from halign.reporting.page import evidence_of
from halign.reporting.sources import is_judged
from halign.reporting.tail import Tail


class Followed:
    """Runs that are being trained and folders that are being judged. A folder that is not there yet is waited for.

    Attributes:
        version: grows with everything that ``look`` finds: rows of metrics, verdicts, the end of a job.
        generation: grows where what was shown cannot be added to: a folder has begun, or was begun anew.
        books: on the judged folders, None while there are none.
    """

    def __init__(self, folders: Sequence[Path], title: str | None = None) -> None:
        self.folders, self.title = list(folders), title
        self.version = self.generation = 0
        self.books: Books | None = None
        self._judging: JudgingFollowed | None = None
        self._tails = {f: Tail(f / METRICS) for f in folders}
        self._metrics: dict[Path, list[dict[str, Any]]] = {f: [] for f in folders}
        self._marks: list[Any] = []
        self._begun: list[Path] = []

    def look(self) -> int:
        """Read what is new; the version.

        Raises:
            DataError: a row of items or verdicts that cannot be read; again with every look, until the file is another.
        """
        new = [self._more_metrics(f) for f in self.folders]
        names = (CONFIG, "done", "preflight.txt", ITEMS, VERDICTS, FACTS)
        marks = [_stamp(f / name) for f in self.folders for name in names]
        if any(new) or marks != self._marks:
            self._judged()
            self.version, self._marks = self.version + 1, marks
        return self.version

    def _more_metrics(self, folder: Path) -> bool:
        anew, lines = self._tails[folder].more()
        rows = [row for _, line in lines if (row := _object(line)) is not None]
        if anew or rows:  # a new list: pages are drawn from the old one meanwhile
            self._metrics[folder] = rows if anew else [*self._metrics[folder], *rows]
        return anew or bool(rows)

    def _judged(self) -> None:
        """Take up verdicts."""
        begun = [f for f in self.folders if self._is_judged(f)]
        try:
            if begun and (begun != self._begun or self._judging is None or not self._judging.more()):
                self._begin(begun)
        except HalignError:
            self._judging = None
            raise
        if self.books:
            self.books.catch_up()
            self.books.examine(wait=not self.finished)

    def _begin(self, begun: list[Path]) -> None:
        """Read folders of verdicts from their start."""
        self._begun, self._judging, self.books = begun, None, None
        self.generation += 1
        judging = JudgingFollowed(begun)
        if judging.more():  # else it changes as it is read, and the next look tries again
            self._judging, self.books = judging, judging.books

    def evidence(self) -> Evidence:
        """What there is by now. Raises as ``report``."""
        runs = [f for f in self.folders if self._is_run(f)]
        title = self.title or " and ".join(f.name for f in self.folders[:3])
        judged = self.books.pool.judged if self.books else ()
        return evidence_of(runs, judged, title=title, read=self._training)

    def _training(self, folder: Path) -> Training:
        return Training.read(folder, self._metrics[folder])

    def _is_run(self, folder: Path) -> bool:
        return (folder / CONFIG).exists()

    def _is_judged(self, folder: Path) -> bool:
        return not self._is_run(folder) and is_judged(folder)

    def waiting(self) -> list[str]:
        """The folders in which nothing has begun."""
        return [str(f) for f in self.folders if not self._is_run(f) and not self._is_judged(f)]

    @property
    def finished(self) -> bool:
        """True once every run is done and every folder of verdicts has its judging.json."""
        return all((f / ("done" if self._is_run(f) else FACTS)).exists() for f in self.folders)


def _object(line: bytes) -> dict[str, Any] | None:
    """A row of metrics; a run that was killed while it wrote, and goes on, leaves lines that are none."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if is_metrics(found) else None


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
