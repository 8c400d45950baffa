"""What is new in files that are still being written: runs and folders of verdicts, followed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from halign.judges.records import FACTS, ITEMS, VERDICTS
from halign.reporting.evidence import CONFIG, METRICS, Evidence, Training
from halign.reporting.page import gather


class Tail:
    """The rows of a growing JSONL file, each read once; a last line without its end waits for it.

    Attributes:
        rows: all that were read.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.rows: list[dict[str, Any]] = []
        self._at, self._inode = 0, 0

    def more(self) -> bool:
        """Read on; True if there was something new. A file that became shorter or was replaced is read from its start.

        Lines that are no JSON object are left out: a run that was killed while it wrote, and goes on, leaves one.
        """
        try:
            with self.file.open("rb") as file:
                return self._read(file)
        except FileNotFoundError:
            return False

    def _read(self, file: Any) -> bool:
        is_now = self.file.stat()
        anew = is_now.st_size < self._at or is_now.st_ino != self._inode
        if anew:
            self.rows, self._at, self._inode = [], 0, is_now.st_ino
        file.seek(self._at)
        whole, end, _ = file.read().rpartition(b"\n")
        self._at += len(whole) + len(end)
        found = [row for line in whole.split(b"\n") if (row := _object(line)) is not None]
        self.rows = [*self.rows, *found]  # a new list: pages are drawn from the old one meanwhile
        return anew or bool(found)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class Followed:
    """Runs that are being trained and folders that are being judged. A folder that is not there yet is waited for.

    Attributes:
        version: grows with everything that ``look`` finds: rows of metrics, verdicts, the end of a job.
    """

    def __init__(self, folders: Sequence[Path], title: str | None = None) -> None:
        self.folders, self.title, self.version = list(folders), title, 0
        self._tails = {f: Tail(f / METRICS) for f in folders}
        self._marks: list[Any] = []

    def look(self) -> int:
        """Read what is new; the version."""
        new = [tail.more() for tail in self._tails.values()]
        names = (CONFIG, "done", "preflight.txt", ITEMS, VERDICTS, FACTS)
        marks = [_stamp(f / name) for f in self.folders for name in names]
        if any(new) or marks != self._marks:
            self.version, self._marks = self.version + 1, marks
        return self.version

    def evidence(self, judged: bool = True) -> Evidence:
        """What there is by now. Raises as ``gather``.

        Args:
            judged: with the folders of verdicts, which are read from their start.
        """
        begun = [f for f in self.folders if self._is_run(f) or (judged and self._is_judged(f))]
        title = self.title or " and ".join(f.name for f in self.folders[:3])
        return gather(begun, title=title, read=self._training)

    def _training(self, folder: Path) -> Training:
        return Training.read(folder, self._tails[folder].rows)

    def _is_run(self, folder: Path) -> bool:
        return (folder / CONFIG).exists()

    def _is_judged(self, folder: Path) -> bool:
        return any((folder / name).exists() for name in (ITEMS, VERDICTS))

    def waiting(self) -> list[str]:
        """The folders in which nothing has begun."""
        return [str(f) for f in self.folders if not self._is_run(f) and not self._is_judged(f)]

    def judging(self) -> list[int]:
        """Bytes of verdicts in each judged folder; a page with other numbers is not up to date."""
        return [s[0] for f in self.folders if (s := _stamp(f / VERDICTS))]

    @property
    def finished(self) -> bool:
        """True once every run is done and every folder of verdicts has its judging.json."""
        return all((f / ("done" if self._is_run(f) else FACTS)).exists() for f in self.folders)


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
