"""Perplexity of whole texts, per word and per byte, which can be compared across tokenizers (per token cannot).

With S the sum of all texts' log-probabilities in nats, over W words and B bytes in all:
``word_perplexity = exp(-S / W)``, ``byte_perplexity = exp(-S / B)``, ``bits_per_byte = -S / (B ln 2)``, as in
lm-evaluation-harness: words are what stands between white space, bytes are UTF-8. Every text starts after the prefix token, and
is read in windows where it is longer than the model reads at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from halign.errors import HalignError
from halign.harness.likelihoods import Progress, Reading, in_parts, text_encoder
from halign.harness.text import TextEncoder
from halign.models import Policy


@dataclass(frozen=True, slots=True)
class Perplexity:
    """How well a model predicts texts.

    Attributes:
        logps: of each text, nats.
        words, bytes, tokens: in all.
    """

    logps: tuple[float, ...]
    words: int
    bytes: int
    tokens: int

    @property
    def word_perplexity(self) -> float:
        return math.exp(-sum(self.logps) / self.words)

    @property
    def byte_perplexity(self) -> float:
        return math.exp(-sum(self.logps) / self.bytes)

    @property
    def bits_per_byte(self) -> float:
        return -sum(self.logps) / (self.bytes * math.log(2))

    @property
    def token_perplexity(self) -> float:
        """Per token of this model's tokenizer."""
        return math.exp(-sum(self.logps) / self.tokens)


def perplexity(
    policy: Policy,
    texts: Sequence[str],
    *,
    encoder: TextEncoder | None = None,
    reading: Reading | None = None,
    progress: Progress = lambda done, total: None,
) -> Perplexity:
    """How well a model predicts these texts.

    Raises:
        HalignError: there is no text, or an empty one.
    """
    empty = next((i for i, text in enumerate(texts) if not text), None)
    if not texts or empty is not None:
        raise HalignError(
            "perplexity: no text" if empty is None else f"perplexity: text {empty} is empty; leave it out"
        )
    encoder = encoder or text_encoder(policy)
    windows = [list(encoder.windows(text)) for text in texts]
    paths = (path for own in windows for path in own)
    found = in_parts(policy, paths, sum(map(len, windows)), reading or Reading(), progress)
    read = iter(found)
    logps = tuple(sum(next(read).logp for _ in own) for own in windows)
    words = sum(len(re.split(r"\s+", text)) for text in texts)
    return Perplexity(logps, words, sum(len(t.encode()) for t in texts), sum(one.tokens for one in found))
