"""Every reply, kept the moment it arrives: one SQLite file that several processes may share.

Write-ahead log, ``synchronous=FULL``: once ``put`` returns, the reply survives a kill and a power cut. A key is stored
once; who comes second gets what is there.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from halign.cache import cache_dir
from halign.errors import HalignError

_TABLE = """\
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, endpoint TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL, made REAL NOT NULL
)"""


class ReplyCache:
    """Replies by key; safe to use from several threads and processes.

    Args:
        file: the database; None: ``$HALIGN_CACHE/llm/replies.sqlite``.
        patience: seconds to wait for another process that is writing.

    Raises:
        HalignError: the file cannot be used; it is named. So do all methods.
    """

    def __init__(self, file: Path | None = None, *, patience: float = 60.0) -> None:
        self.file = file or cache_dir("llm") / "replies.sqlite"
        self._lock = threading.Lock()
        with self._explained():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(
                self.file, timeout=patience, isolation_level=None, check_same_thread=False
            )
            self._settle(patience)

    def _settle(self, patience: float) -> None:
        """Switching a new file to a write-ahead log may meet others that do the same, and does not wait for them."""
        until = time.monotonic() + patience
        while True:
            try:
                self._base.execute("PRAGMA journal_mode=WAL")
                self._base.execute("PRAGMA synchronous=FULL")
                self._base.execute(_TABLE)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def get(self, key: str) -> str | None:
        """The reply's text, or None."""
        with self._explained(), self._lock:
            row = self._base.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()
        return row[0] if row else None

    def put(self, key: str, endpoint: str, request: str, reply: str) -> str:
        """Keep a reply durably; returns the one that is kept, which may be another process's."""
        with self._explained(), self._lock:
            added = self._base.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?)",
                (key, endpoint, request, reply, time.time()),
            ).rowcount
            if added:
                return reply
            return self._base.execute("SELECT reply FROM replies WHERE key = ?", (key,)).fetchone()[0]

    def __len__(self) -> int:
        with self._explained(), self._lock:
            return self._base.execute("SELECT count(*) FROM replies").fetchone()[0]

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def __enter__(self) -> ReplyCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise HalignError(
                f"the cache of replies {self.file} cannot be used ({error}). Free space or permissions there, set "
                "HALIGN_CACHE to another folder, or, if the file is damaged, move it away (its replies would be paid again)"
            ) from error
