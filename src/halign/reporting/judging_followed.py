"""Folders that are being judged: items and verdicts are taken up as they are appended."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from halign.errors import DataError
from halign.judges.records import (
    FACTS,
    ITEMS,
    VERDICTS,
    Judged,
    JudgedItem,
    Record,
    made,
    read_facts,
    record_of,
)
from halign.reporting.books import Books
from halign.reporting.pool import Pool, judge_names
from halign.reporting.tail import More, Tail

T = TypeVar("T")


class JudgingFollowed:
    """Folders of verdicts in one pool, from their files' starts on.

    A verdict whose item has no row yet waits for it (some jobs write items after verdicts) until the folder has its judging.json.

    Attributes:
        books: on all that was read.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._judged = [Judged(f, {}, [], read_facts(f / FACTS)) for f in folders]
        self.books = Books(Pool(self._judged))
        self._items = [Tail(f / ITEMS) for f in folders]
        self._verdicts = [Tail(f / VERDICTS) for f in folders]
        self._waiting: list[list[Record]] = [[] for _ in folders]

    def more(self) -> bool:
        """Read on. False where something was changed that was read before: all must be read anew.

        Raises:
            DataError: a row that cannot be read.
        """
        return self._same_judges() and all(self._more(n) for n in range(len(self._judged)))

    def _same_judges(self) -> bool:
        """Take up judging.json where it has come; False where judges are called otherwise because of it."""
        before = judge_names(self._judged)
        for j in self._judged:
            facts = read_facts(j.path / FACTS)
            j.facts.clear()
            j.facts.update(facts)
        return judge_names(self._judged) == before

    def _more(self, n: int) -> bool:
        judged, pool = self._judged[n], self.books.pool
        verdicts = self._verdicts[
            n
        ].more()  # before the items, so that those of the last verdicts are likely to be there
        items = self._items[n].more()
        if verdicts.anew or items.anew:
            return False
        new = {
            i.item: i for i in _all(JudgedItem, judged.path / ITEMS, items)
        }  # the last row of an item counts
        waiting = [*self._waiting[n], *_all(record_of, judged.path / VERDICTS, verdicts)]
        judged.items.update(new)
        if not pool.add_items(n, new.values()):
            return False
        ready = [r for r in waiting if _is_ready(judged, r)]
        self._waiting[n] = [r for r in waiting if not _is_ready(judged, r)]
        self.books.waiting[n] = len(self._waiting[n])
        judged.records.extend(ready)
        pool.add(n, ready)
        return True


def _is_ready(judged: Judged, record: Record) -> bool:
    return bool(record.item in judged.items or judged.facts or not judged.items)


def _all(make: Callable[..., T], file: Path, more: More) -> list[T]:
    return [made(make, _row(file, number, line), file, number) for number, line in more.lines]


def _row(file: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise DataError("not JSON", file=str(file), line=number) from None
