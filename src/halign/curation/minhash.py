"""Texts as sets of shingles, their similarity, and MinHash signatures that find the similar ones among many.

A text's shingles are its runs of three words, in lower case and without punctuation. Two texts are as alike as the Jaccard
similarity of their sets. Two signatures agree in each value with probability equal to that similarity (Broder 1997); cut into b
bands of r values, two texts of similarity s agree in all values of some band with probability 1 - (1 - s^r)^b. Such pairs
are candidates, which are then compared exactly, so that nothing is taken for a near-duplicate that is none.

Signatures are computed by rensa (a wheel of 1 MB without dependencies; 90 times as fast here as datasketch, docs/log.md).
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rensa import RMinHash

SHINGLE = 3
"""Words of one shingle."""
PERMUTATIONS = 128
"""Most values of a signature."""
NEAR = 0.8
"""Jaccard similarity from which two texts are near-duplicates, where nothing else is said."""
MISSED = 1e-3
"""At most this share of pairs that are just at the threshold is not found."""
COMPARED = 64
"""Texts of one bucket that another is compared with; more would be quadratic where thousands begin alike."""

WORD = re.compile(r"\w+")
_A, _B, _C = (np.uint64(n) for n in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15))
_KNOWN_WORDS = 1 << 20


def normal(text: str) -> list[str]:
    """A text's words, in lower case.

    >>> normal("Hello,  WORLD!")
    ['hello', 'world']
    """
    return WORD.findall(text.lower())


class _WordHashes(dict[str, int]):
    """Word -> 32 bits, computed once; forgotten when there are too many."""

    def __missing__(self, word: str) -> int:
        if len(self) >= _KNOWN_WORDS:
            self.clear()
        found = self[word] = zlib.crc32(word.encode("utf-8", "surrogatepass"))
        return found


_hash_of = _WordHashes().__getitem__


def runs(words: Sequence[str], length: int) -> np.ndarray:
    """Hashes (64 bits) of all runs of ``length`` words, in order: uint64 [max(0, n - length + 1)]."""
    n = len(words)
    if n < length:
        return np.empty(0, np.uint64)
    of_words = np.fromiter(map(_hash_of, words), np.uint64, n)
    found = np.full(n - length + 1, length, np.uint64)
    for i in range(length):
        found = _mixed(found * _A + of_words[i : n - length + 1 + i])
    return found


def _mixed(x: np.ndarray) -> np.ndarray:
    """Spreads every bit over all others (the finaliser of splitmix64)."""
    x = (x ^ (x >> np.uint64(30))) * _A
    x = (x ^ (x >> np.uint64(27))) * _B
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def shingles(text: str) -> np.ndarray:
    """Sorted hashes of a text's shingles, each once: uint32 [s]. A text of fewer words is one shingle; of none, none."""
    words = normal(text)
    return (
        np.unique((runs(words, min(SHINGLE, len(words))) >> np.uint64(32)).astype(np.uint32))
        if words
        else _NOTHING
    )


_NOTHING = np.empty(0, np.uint32)


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """|a and b| / |a or b| of two sorted arrays without repeats; 0 for two empty ones.

    >>> jaccard(np.array([1, 2, 3]), np.array([2, 3, 4]))
    0.5
    """
    both = np.concatenate((a, b))
    both.sort()
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / max(1, len(both) - shared)


@dataclass(frozen=True)
class Bands:
    """How signatures are cut: ``count`` bands of ``rows`` values each."""

    count: int
    rows: int

    @classmethod
    def of(cls, threshold: float) -> Bands:
        """The longest bands, in as few values as they need, that miss at most MISSED of the pairs at the threshold.

        >>> Bands.of(0.8), Bands.of(0.5)
        (Bands(count=18, rows=5), Bands(count=25, rows=2))
        """
        best = cls(PERMUTATIONS, 1)
        for rows in range(1, 17):
            count = 1
            while (1 - threshold**rows) ** count > MISSED and count * rows <= PERMUTATIONS:
                count += 1
            if count * rows <= PERMUTATIONS:
                best = cls(count, rows)
        return best

    def found(self, similarity: float) -> float:
        """Probability that two texts of this similarity are compared."""
        return 1 - (1 - similarity**self.rows) ** self.count

    def keys(self, sets: Sequence[np.ndarray]) -> np.ndarray:
        """One key per band of every set: uint64 [n, count]. Empty sets must not be among them."""
        if not sets:
            return np.empty((0, self.count), np.uint64)
        ends = np.concatenate(([0], np.cumsum([len(s) for s in sets]))).astype(np.uint64)
        flat = np.concatenate(sets).astype(np.uint64)
        made = RMinHash.digest_matrix_from_flat_token_hashes(flat, ends, self.count * self.rows, 0)
        signatures = np.array(made.to_rows(), np.uint64).reshape(len(sets), self.count, self.rows)
        keys = np.zeros((len(sets), self.count), np.uint64)
        for r in range(self.rows):
            keys = _mixed(keys * _C + signatures[:, :, r])
        return keys


@dataclass
class _Known:
    """A text that has been seen: who said it, and its shingles."""

    index: int
    conversation: str
    shingles: np.ndarray


class NearIndex:
    """Finds texts that are nearly the same as one seen before; in memory, about 2 kB a text."""

    def __init__(self, threshold: float = NEAR) -> None:
        self.threshold, self.bands = threshold, Bands.of(threshold)
        self._buckets: dict[tuple[int, int], list[_Known]] = defaultdict(list)

    def add(self, text: str, index: int, conversation: str) -> None:
        """Remember a text."""
        known = _Known(index, conversation, shingles(text))
        for key in self._keys(known.shingles):
            if len(self._buckets[key]) < COMPARED:
                self._buckets[key].append(known)

    def find(self, text: str, conversation: str) -> int | None:
        """Index of a near-duplicate from another conversation, None if there is none."""
        found = self.nearest(text, conversation)
        return found[0] if found else None

    def nearest(self, text: str, conversation: str) -> tuple[int, float] | None:
        """(index, similarity) of the most similar text of another conversation, if it is similar enough."""
        mine = shingles(text)
        seen: dict[int, float] = {}
        for key in self._keys(mine):
            for known in self._buckets.get(key, ()):
                if known.index not in seen and known.conversation != conversation:
                    seen[known.index] = jaccard(mine, known.shingles)
        index = max(seen, key=lambda i: (seen[i], -i), default=None)
        return (index, seen[index]) if index is not None and seen[index] >= self.threshold else None

    def _keys(self, values: np.ndarray) -> Iterator[tuple[int, int]]:
        if len(values):
            yield from enumerate(self.bands.keys([values])[0].tolist())
