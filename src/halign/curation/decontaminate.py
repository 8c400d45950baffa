"""Rows that hold what a test set asks: the same run of 13 words, a short text whole, or nearly the same text.

As for GPT-3 (Brown et al. 2020, appendix C) words are compared in lower case and without punctuation, and runs have 13 words; a
shorter text counts as one run if it has at least 8, their least. Otherwise than there the whole row goes, not a window around the
match, since half of a conversation teaches nothing; texts of fewer than 8 words are found where a message is just that text
(turns of longer conversations excepted); and near-duplicates are found as in ``dedupe``.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from halign.checks import dialogue_of
from halign.curation.minhash import NEAR, NearIndex, normal, runs
from halign.curation.output import Decision, Outcome, write_decided
from halign.curation.source import Row, RowSource, Watch, unwatched
from halign.errors import DataError, HalignError
from halign.examples import Conversation, Preference, Ranking, Rating
from halign.lineage import Step, file_hash
from halign.readers.files import rows_of
from halign.readers.sources import BadLine

RUN, LEAST = 13, 8
COLUMNS = (
    "prompt",
    "question",
    "Question",
    "instruction",
    "input",
    "turns",
    "text",
    "messages",
    "query",
    "problem",
    "goal",
)
"""Columns of a test set that hold what it asks, where none is named."""

Place = tuple[str, int, str]
"""(file, row, text) of a test set."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a row shares with a test set.

    Attributes:
        how: "the same 13 words", "a short text whole", "a message is the text", "nearly the same".
        words: what is shared; of near-duplicates the test's text.
    """

    how: str
    file: str
    row: int
    words: str
    similarity: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        found = {"how": self.how, "file": self.file, "row": self.row, "words": self.words}
        return found if self.similarity == 1.0 else {**found, "similarity": round(self.similarity, 4)}


@dataclass
class HeldOut:
    """What must not be found. Memory grows with the test sets only, by about 10 bytes a letter.

    Attributes:
        ignored: hashes of runs that are common phrases; ``common``: indices of whole texts that are.
    """

    run: int = RUN
    least: int = LEAST
    threshold: float = NEAR
    places: list[Place] = field(default_factory=list)
    whole: dict[str, int] = field(default_factory=dict)
    lengths: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    ignored: set[int] = field(default_factory=set)
    common: set[int] = field(default_factory=set)
    near: NearIndex = field(init=False)

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.run:
            raise HalignError(
                f"words: runs of {self.run} and at least {self.least} words; 1 <= least <= run is needed"
            )
        if not 0 < self.threshold <= 1:
            raise HalignError(f"threshold: {self.threshold} is not above 0 and at most 1")
        self.near = NearIndex(self.threshold)
        self._sorted: dict[int, np.ndarray] = {}

    def add(self, text: str, file: str, row: int) -> None:
        """A text of a test set."""
        words = normal(text)
        if not words:
            return
        index = len(self.places)
        self.places.append((file, row, text))
        self.whole.setdefault(" ".join(words), index)
        self._sorted.clear()
        if len(words) >= self.least:
            length = min(self.run, len(words))
            for value in runs(words, length).tolist():
                self.lengths[length].setdefault(value, index)
            if self.threshold < 1:
                self.near.add(text, index, "test")

    def hits(self, words: Sequence[str]) -> Iterator[tuple[int, int, int]]:
        """(length, where, hash) of every run that a test has."""
        for length, known in self.lengths.items():
            if length not in self._sorted:
                self._sorted[length] = np.sort(np.fromiter(known, np.uint64, len(known)))
            mine, theirs = runs(words, length), self._sorted[length]
            at = np.searchsorted(theirs, mine)
            for i in np.flatnonzero(theirs[np.minimum(at, len(theirs) - 1)] == mine).tolist():
                yield length, i, int(mine[i])

    def find(self, text: str) -> Match | None:
        """The first thing that a text shares with a test, None if there is none."""
        words = normal(text)
        index = self.whole.get(" ".join(words))
        if index is not None and index not in self.common:
            return self._match("a message is the text", index, " ".join(words))
        for length, at, value in self.hits(words):
            if value not in self.ignored:
                how = f"the same {length} words" if length == self.run else "a short text whole"
                return self._match(how, self.lengths[length][value], " ".join(words[at : at + length]))
        near = self.nearest(text, words)
        if near is not None and near[0] not in self.common:
            return self._match("nearly the same", near[0], self.places[near[0]][2], near[1])
        return None

    def nearest(self, text: str, words: Sequence[str]) -> tuple[int, float] | None:
        """(index, similarity) of the test's text that a text of these words is nearly, None if there is none."""
        if self.threshold == 1 or len(words) < self.least:
            return None
        return self.near.nearest(text, "")

    def leave_out_common(self, rows: Iterable[Sequence[str]], most: int) -> None:
        """Count in how many rows, each given by its texts, everything of the tests stands; what stands in more than ``most`` is a
        common phrase and no match from here on."""
        runs_in, texts_in = Counter[int](), Counter[int]()
        for said in rows:
            found, whole = set[int](), set[int]()
            for text in said:
                words = normal(text)
                found.update(value for _, _, value in self.hits(words))
                whole.update(i for i in (self.whole.get(" ".join(words)),) if i is not None)
                whole.update(near[0] for near in (self.nearest(text, words),) if near is not None)
            runs_in.update(found)
            texts_in.update(whole)
        self.ignored = {value for value, n in runs_in.items() if n > most}
        self.common = {index for index, n in texts_in.items() if n > most}

    def _match(self, how: str, index: int, words: str, similarity: float = 1.0) -> Match:
        file, row, _ = self.places[index]
        return Match(how, file, row, words, similarity)


def read_tests(
    files: Sequence[str | os.PathLike[str]], tests: HeldOut, columns: Sequence[str] = ()
) -> dict[str, int]:
    """Add the texts of test files; returns how many each has.

    Args:
        columns: those that hold texts; none: the usual names of what is asked (COLUMNS).

    Raises:
        HalignError: a file without such a column, or one that cannot be read.
    """
    found = {}
    for file in files:
        before = len(tests.places)
        row: Any = {}
        for number, row in rows_of(file).rows:
            if isinstance(row, BadLine):
                raise DataError(row.problem, file=str(file), line=number)
            for column in columns or COLUMNS:
                talk = is_talk(row.get(column))
                for text in strings(row.get(column)):
                    if not talk or len(normal(text)) >= tests.least:
                        tests.add(text, Path(file).name, number)
        found[str(file)] = len(tests.places) - before
        if not found[str(file)]:
            has = ", ".join(row) if isinstance(row, Mapping) else ""
            raise HalignError(
                f"{file}: no text in {', '.join(columns or COLUMNS)}; it has {has}: name one with --column"
            )
    return found


def is_talk(value: Any) -> bool:
    """True for messages in which a user speaks more than once. Their short texts ("Thursday") are answers, and ask nothing."""
    said = value if isinstance(value, list | tuple) else ()
    return sum(isinstance(m, Mapping) and m.get("role") == "user" for m in said) > 1


def strings(value: Any) -> Iterator[str]:
    """The texts in a column: a string, a list of them, or messages; nothing else.

    >>> list(strings(["a", {"role": "user", "content": "b"}])), list(strings(3))
    (['a', 'b'], [])
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from strings(value.get("content", value.get("value")))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from strings(part)


def messages_of(row: Row) -> list[str]:
    """Every text that a row would teach or show: messages, and all responses, good or bad."""
    e = row.example
    said = [m.content for m in (dialogue_of(e) if e is not None else row.dialogue).messages]
    match e:
        case Preference():
            said += [e.chosen.content, e.rejected.content]
        case Ranking():
            said += [m.content for m in (*e.responses, *e.unranked)]
        case Rating():
            said.append(e.response.content)
        case Conversation():
            said += [a.message.content for some in e.alternatives.values() for a in some]
    return said


def decontaminate(
    source: RowSource,
    output: Path,
    against: Sequence[str | os.PathLike[str]],
    *,
    columns: Sequence[str] = (),
    run: int = RUN,
    least: int = LEAST,
    threshold: float = NEAR,
    common: int | None = None,
    dropped: bool = False,
    watch: Watch[Row] = unwatched,
) -> tuple[Outcome, list[tuple[int, Match]], dict[str, tuple[int, int]]]:
    """Write the rows that share nothing with the test sets.

    Args:
        against: test files; ``columns`` of them hold what is asked.
        threshold: of near-duplicates, as in ``dedupe``; 1: none are looked for.
        common: a run of words, or a whole text, that stands in more rows than this is no match but a common phrase (GPT-3: 10
            for runs); None: all count. With it the file is read twice. Test sets that are conversations want it, or every row
            with a line that all agents say is a match.

    Returns:
        What was kept; (row, match) of every row dropped; test file -> (texts of it, rows of it that were found).
    """
    tests = HeldOut(run, least, threshold)
    sizes = read_tests(against, tests, columns)
    if common is not None:
        tests.leave_out_common(map(messages_of, watch(source, "counting")), common)
    matches: list[tuple[int, Match]] = []
    hashes = {Path(f).name: file_hash(Path(f)) for f in against}
    settings = {"against": hashes, "run": run, "least": least, "threshold": threshold, "common": common}
    step = Step.of("decontaminate", {**settings, "columns": list(columns), **source.settings}, source.file)

    def decided() -> Iterator[Decision]:
        for row in watch(source, "searching"):
            found = next((m for text in messages_of(row) if (m := tests.find(text)) is not None), None)
            if found is not None:
                matches.append((row.number, found))
            yield (
                Decision(row, f"{found.how} as in {found.file}", details=found.to_dict())
                if found
                else Decision(row)
            )

    try:
        outcome = write_decided(decided(), output, step, dropped=dropped)
    except HalignError as error:
        if common is None and matches:
            raise HalignError(
                f"{error}. Phrases that many rows have in common with a test are no matches with --common 10"
            ) from None
        raise
    seen: dict[str, set[int]] = defaultdict(set)
    for _, match in matches:
        seen[match.file].add(match.row)
    return outcome, matches, {f: (n, len(seen[Path(f).name])) for f, n in sizes.items()}
