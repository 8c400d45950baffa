"""Rows that say the same, or nearly the same, as another: one of them is kept.

Two texts are the same if their words are; nearly the same if the Jaccard similarity of their shingles reaches the threshold
(``minhash.py``). Rows are taken in order of preference (as they stand in the file, or the best grade first); one is dropped if it
is like a row that was kept before. So no two of the rows kept are alike, and every row dropped is like one that is kept: chains
of small differences do not swallow what differs.

Memory: some 60 bytes a row. Band keys and shingles stand in a scratch folder beside the output (600 bytes for a row of 100
words), which is removed.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from halign.curation.minhash import COMPARED, NEAR, Bands, jaccard, normal, shingles
from halign.curation.output import Decision, Outcome, write_decided
from halign.curation.source import By, Row, RowSource, Watch, unwatched
from halign.errors import HalignError
from halign.lineage import Step

BATCH = 2048
SCORES = ("grade", "score")
"""Columns by which the best row is found where none is named."""
SAME, ALIKE = "the same as another row", "nearly the same as another row"


@dataclass(frozen=True)
class Repeats:
    """Which rows are like which.

    Attributes:
        like: int32 [n], index of the kept row that a row is like; -1: it is kept.
        similarity: float32 [n], to that row; 1 where the words are the same.
        numbers: int64 [n], the rows' numbers in their file.
        same: bool [n], dropped because the words are the same.
    """

    like: np.ndarray
    similarity: np.ndarray
    numbers: np.ndarray
    same: np.ndarray

    @property
    def clusters(self) -> Counter[int]:
        """Number of a kept row -> how many rows are like it."""
        return Counter(self.numbers[self.like[self.like >= 0]].tolist())


@dataclass(frozen=True)
class Texts:
    """What is kept of every row, n of them, for comparing.

    Attributes:
        exact: uint64 [n], hash of the words.
        owner: uint64 [n], hash of the conversation.
        score: float64 [n]; -inf where there is none.
        starts: int64 [n + 1], where a row's shingles begin.
        flat: uint32, all shingles, on disk.
        keys: path of each band's keys, uint64 [n].
    """

    numbers: np.ndarray
    exact: np.ndarray
    owner: np.ndarray
    score: np.ndarray
    starts: np.ndarray
    flat: np.ndarray
    keys: list[Path]

    def shingles(self, index: int) -> np.ndarray:
        """Sorted, each once."""
        return self.flat[self.starts[index] : self.starts[index + 1]]


def dedupe(
    source: RowSource,
    output: Path,
    *,
    by: By = "dialogue",
    threshold: float = NEAR,
    within: bool = False,
    best: bool = False,
    score: str | None = None,
    dropped: bool = False,
    watch: Watch[Row] = unwatched,
) -> tuple[Outcome, Repeats]:
    """Write the rows that are like no other kept row.

    Args:
        by: what is compared: the prompt, the response (of judged ones the best), or both.
        threshold: similarity in (0, 1] from which rows are alike; 1: only the same words.
        within: rows of one conversation may be near-duplicates of each other. They often are by nature (every turn of a
            conversation as a row), so by default only the same words count there.
        best: keep the row with the highest score; else the first.
        score: column of the score; None: ``grade`` or ``score``.

    Raises:
        HalignError: a threshold out of range, no row has a score, or as reading and writing.
    """
    if not 0 < threshold <= 1:
        raise HalignError(f"threshold: {threshold} is not above 0 and at most 1")
    columns = (score,) if score else SCORES
    settings = {"by": by, "threshold": threshold, "within": within, "best": best, **source.settings}
    step = Step.of("dedupe", {**settings, "score": score} if score else settings, source.file)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        texts = gather(source, by, threshold, columns if best else (), Path(scratch), watch)
        if best and not np.isfinite(texts.score).any():
            raise HalignError(f"no row has a number in {' or '.join(columns)}: name the column of the score")
        found = repeats(texts, threshold, within)
    outcome = write_decided(_decided(source, found, watch), output, step, dropped=dropped)
    return outcome, found


def _decided(source: RowSource, found: Repeats, watch: Watch[Row]) -> Iterator[Decision]:
    for i, row in enumerate(watch(source, "writing")):
        other = int(found.like[i])
        if other < 0:
            yield Decision(row)
        else:
            about = {"like": int(found.numbers[other]), "similarity": round(float(found.similarity[i]), 4)}
            yield Decision(row, SAME if found.same[i] else ALIKE, details=about)


# -- what is known of every row -------------------------------------------------------------------------------


def gather(
    source: RowSource,
    by: By,
    threshold: float,
    columns: Sequence[str],
    scratch: Path,
    watch: Watch[Row] = unwatched,
) -> Texts:
    """Read all rows once; what grows with the length of the texts goes into the folder ``scratch``."""
    bands = Bands.of(threshold) if threshold < 1 else Bands(0, 1)
    paths = [scratch / f"band{i}" for i in range(bands.count)]
    numbers, exact, owner, score, starts = array("q"), array("Q"), array("Q"), array("d"), array("q", [0])
    name_of = source.conversations(watch) if threshold < 1 else str
    files = [p.open("wb") for p in paths]
    try:
        with (scratch / "shingles").open("wb") as flat:
            for batch in _batches(watch(source, "comparing")):
                said = [row.text(by) for row in batch]
                numbers.extend(row.number for row in batch)
                exact.extend(_key(text) for text in said)
                owner.extend(_hash(name_of(row.conversation)) for row in batch)
                score.extend(_score(row, columns) for row in batch)
                if bands.count:
                    _note(said, bands, starts, flat, files)
    finally:
        for file in files:
            file.close()
    size = (scratch / "shingles").stat().st_size
    values = np.memmap(scratch / "shingles", np.uint32, "r") if size else np.empty(0, np.uint32)
    return Texts(
        np.array(numbers), np.array(exact), np.array(owner), np.array(score), np.array(starts), values, paths
    )


def _note(
    said: Sequence[str], bands: Bands, starts: array[int], flat: IO[bytes], files: Sequence[IO[bytes]]
) -> None:
    """Add the shingles and keys of these texts; a text without words gets keys that no other text has."""
    sets = [shingles(text) for text in said]
    keys = np.random.default_rng(len(starts)).integers(0, 1 << 63, (len(sets), bands.count), np.uint64)
    full = [i for i, s in enumerate(sets) if len(s)]
    keys[full] = bands.keys([sets[i] for i in full])
    for s in sets:
        flat.write(s.tobytes())
        starts.append(starts[-1] + len(s))
    for b, file in enumerate(files):
        file.write(keys[:, b].tobytes())


def _batches(rows: Any) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _key(text: str) -> int:
    """A hash of the words; of a text without words, of the text."""
    return _hash(" ".join(normal(text)) or f"\0{text}")


def _hash(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little"
    )


def _score(row: Row, columns: Sequence[str]) -> float:
    meta = row.dialogue.meta
    for column in columns:
        value = row.row.get(column, meta.get(column))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return -np.inf


# -- who is like whom ------------------------------------------------------------------------------------------


def repeats(texts: Texts, threshold: float, within: bool) -> Repeats:
    """Drop every row that is like one kept before it; the rows with the highest scores come first, else the first."""
    n = len(texts.numbers)
    order = np.lexsort((np.arange(n), -texts.score))
    like, similarity = np.full(n, -1, np.int32), np.ones(n, np.float32)
    _, first, which = np.unique(texts.exact[order], return_index=True, return_inverse=True)
    like[order] = order[first[which]]
    like[order[first]] = -1
    same = like >= 0
    kept: dict[int, list[int]] = {}
    for i, buckets in _candidates(texts, order, same):
        mine = texts.shingles(i)
        near = _nearest(i, mine, buckets, kept, texts, within)
        if near is not None and near[1] >= threshold:
            like[i], similarity[i] = near
        else:
            for b in buckets:
                if len(kept.setdefault(b, [])) < COMPARED:
                    kept[b].append(i)
    moved = np.flatnonzero(same & (like[np.maximum(like, 0)] >= 0))
    like[moved], similarity[moved] = like[like[moved]], similarity[like[moved]]
    return Repeats(like, similarity, texts.numbers, same)


def _nearest(
    i: int, mine: np.ndarray, buckets: Sequence[int], kept: dict[int, list[int]], texts: Texts, within: bool
) -> tuple[int, float] | None:
    others = dict.fromkeys(j for b in buckets for j in kept.get(b, ()))
    if not within:
        others = {j: None for j in others if texts.owner[j] != texts.owner[i]}
    found = [(jaccard(mine, texts.shingles(j)), -j) for j in others]
    return (-max(found)[1], max(found)[0]) if found else None


def links(texts: Texts, threshold: float) -> Iterator[tuple[int, int]]:
    """Pairs (later, earlier) of rows that are alike, whatever conversation they are from; enough of them to join all that are."""
    order = np.arange(len(texts.numbers))
    _, first, which = np.unique(texts.exact, return_index=True, return_inverse=True)
    same = first[which] != order
    yield from zip(order[same].tolist(), first[which][same].tolist(), strict=True)
    seen: dict[int, list[int]] = {}
    for i, buckets in _candidates(texts, order, same):
        mine = texts.shingles(i)
        for j in dict.fromkeys(j for b in buckets for j in seen.get(b, ())):
            if jaccard(mine, texts.shingles(j)) >= threshold:
                yield i, j
        for b in buckets:
            if len(seen.setdefault(b, [])) < COMPARED:
                seen[b].append(i)


def _candidates(texts: Texts, order: np.ndarray, same: np.ndarray) -> Iterator[tuple[int, list[int]]]:
    """In order of preference, every row that shares a bucket with another: (index, its buckets)."""
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    distinct = np.flatnonzero(~same)
    places, buckets, made = [], [], 0
    for path in texts.keys:
        _, which, count = np.unique(
            np.fromfile(path, np.uint64)[distinct], return_inverse=True, return_counts=True
        )
        shared = np.flatnonzero(count[which] > 1)
        places.append(place[distinct[shared]])
        buckets.append(which[shared] + made)
        made += len(count)
    if not places:
        return
    where, bucket = np.concatenate(places), np.concatenate(buckets)
    sort = np.argsort(where, kind="stable")
    where, bucket = where[sort], bucket[sort]
    ends = np.flatnonzero(np.diff(where, append=-1)) + 1
    start = 0
    for end in ends.tolist():
        yield int(order[where[start]]), bucket[start:end].tolist()
        start = end
