"""The books on judged folders: what the page says of them is made from these, and they are kept up while verdicts come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from halign.audits import Audit
from halign.judges.records import Judged
from halign.reporting.conduct import Agreement, Conducts, Splits, agreements, audits
from halign.reporting.explorer import Table
from halign.reporting.pool import Pool
from halign.reporting.prompts import Prompts
from halign.reporting.standings import Ratings, Tally, ratings

MORE = 1.1
"""What takes all verdicts at once is made anew when they are so many times as many, so that it costs each verdict a fixed sum."""


@dataclass(frozen=True)
class Examined:
    """What takes all verdicts at once.

    Attributes:
        verdicts: how many there were.
        audits: (folder, audit of one judge on one dimension).
    """

    verdicts: int = 0
    ratings: Ratings = field(default_factory=Ratings)
    audits: list[tuple[str, Audit]] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)

    @classmethod
    def of(cls, pool: Pool, splits: Splits) -> Examined:
        """Of all that is there."""
        return cls(len(pool.seen), ratings(pool.records), audits(pool), agreements(pool, splits))


class Books:
    """Of a pool: the tally, how judges behaved, what was judged, the explorer's table, and what was examined.

    Attributes:
        waiting: for each folder, verdicts that are not in the pool yet because their items are not.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.tally, self.conduct, self.prompts = Tally(), Conducts(), Prompts()
        self.table = Table(pool)
        self.examined = Examined()
        self.waiting = [0 for _ in pool.judged]
        self._seen = self._came = 0
        self.catch_up()

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Books:
        """Of folders that have been read."""
        books = cls(Pool.of(judged))
        books.examine()
        return books

    def catch_up(self) -> None:
        """Take up what has joined the pool; the work depends on how much that is, not on what is there already."""
        pool = self.pool
        for seen in pool.seen[self._seen :]:
            self.tally.add(seen.record)
            self.conduct.add(seen.record)
        for came in pool.came[self._came :]:
            self.prompts.add(pool, came)
        self._seen, self._came = len(pool.seen), len(pool.came)
        self.table.catch_up()

    def examine(self, wait: bool = False) -> None:
        """Examine all verdicts, if there are others than last time.

        Args:
            wait: until they are more by a tenth.
        """
        there, had = len(self.pool.seen), self.examined.verdicts
        if there > had * (MORE if wait else 1):
            self.examined = Examined.of(self.pool, self.table.splits)
