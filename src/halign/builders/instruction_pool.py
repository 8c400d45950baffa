"""A pool of instructions that refuses what is too like one that it holds, by ROUGE-L (self-instruct, Wang et al. 2023,
arXiv 2212.10560, section 2.2).

ROUGE-L of two texts of n and m tokens is F = 2 L / (n + m), with L the length of their longest common subsequence. L is at most
the number of tokens that the texts share, order aside, and that number for all of the pool at once is read off an inverted index.
So the subsequence itself, which is slow, is looked for only where F could reach the threshold at all; no instruction gets another
answer than from rouge-score on every pair.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer

THRESHOLD = 0.7


class InstructionPool:
    """Instructions, each less than ``threshold`` like all those before it that were added with ``add``.

    Args:
        instructions: what is there from the start, alike or not (seed tasks).
        threshold: ROUGE-L F-measure, in (0, 1], from which an instruction is too like another. (The paper takes in what is below
            .7; its code takes .7 itself as well.)

    >>> pool = InstructionPool(["Write a poem about the sea."])
    >>> pool.add("Write a poem about the old sea."), pool.add("Name three rivers of Europe.")
    (False, True)
    """

    def __init__(self, instructions: Iterable[str] = (), threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self.texts: list[str] = []
        self._lengths: list[int] = []
        self._places: defaultdict[str, list[tuple[int, int]]] = defaultdict(
            list
        )  # token -> (text, how often there)
        self._tokenize = DefaultTokenizer(use_stemmer=False).tokenize
        self._scorer = RougeScorer(["rougeL"], use_stemmer=False)
        for text in instructions:
            self.put(text)

    def __len__(self) -> int:
        return len(self.texts)

    def add(self, text: str) -> bool:
        """Take the text in, unless it is too like one that is there; True if it was taken."""
        if self.alike(text) is not None:
            return False
        self.put(text)
        return True

    def alike(self, text: str) -> str | None:
        """The first text of the pool whose ROUGE-L with this one is ``threshold`` or more; None if there is none."""
        counts = Counter(self._tokenize(text))
        length = sum(counts.values())
        shared: defaultdict[int, int] = defaultdict(int)
        for token, here in counts.items():
            for place, there in self._places.get(token, ()):
                shared[place] += min(here, there)
        for place in sorted(shared):
            if 2 * shared[place] >= self.threshold * (length + self._lengths[place]) - 1e-9:
                other = self.texts[place]
                if self._scorer.score(other, text)["rougeL"].fmeasure >= self.threshold:
                    return other
        return None

    def put(self, text: str) -> None:
        """Take the text in, alike or not."""
        counts = Counter(self._tokenize(text))
        for token, count in counts.items():
            self._places[token].append((len(self.texts), count))
        self.texts.append(text)
        self._lengths.append(sum(counts.values()))
