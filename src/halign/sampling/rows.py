"""Replies in the making, and the choice of their next tokens."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from halign.sampling.choose import RowNoise, draw, restrict
from halign.sampling.settings import Settings


@dataclass
class Row:
    """One reply in the making.

    Attributes:
        index: place in the flat list of results: prompt * n + sample.
        ids: tokens so far, the stop token included.
        logps: of each token, if they are kept.
        finished: True if the reply ended by itself: with a stop token or a stop string.
        done: True if nothing more is to be written, finished or not.
        room: tokens that it may have, whatever ``max_new_tokens`` says: the model has no positions for more.
    """

    index: int
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finished: bool = False
    done: bool = False
    noise: RowNoise | None = None
    room: float = math.inf


class Picks(Protocol):
    """Chooses the next token of every row."""

    def pick(self, rows: Sequence[Row], logits: Tensor) -> list[int]:
        """Token ids, one a row, from logits [rows, V]; notes them down and says which rows are done."""
        ...


class Picker:
    """Draws the next tokens by the settings.

    Args:
        stop_ids: tokens that end a reply.
        ends: told the ids of a reply so far; True if they end it (a stop string stands in their text).
    """

    def __init__(
        self,
        settings: Settings,
        stop_ids: Collection[int],
        ends: Callable[[list[int]], bool] | None = None,
    ) -> None:
        self.settings, self.stop_ids, self.ends = settings, frozenset(stop_ids), ends

    def pick(self, rows: Sequence[Row], logits: Tensor) -> list[int]:
        """The next token of every row, noted down in it; logits [rows, V]."""
        s = self.settings
        chosen, logps = (logits.argmax(-1), None) if s.temperature == 0 else self._drawn(rows, logits)
        tokens: list[int] = chosen.tolist()
        if s.logps:  # greedy is certain: log 1
            values = [0.0] * len(rows) if logps is None else logps.tolist()
            for row, value in zip(rows, values, strict=True):
                row.logps.append(value)
        for row, token in zip(rows, tokens, strict=True):
            row.ids.append(token)
            row.finished = token in self.stop_ids or (self.ends is not None and self.ends(row.ids))
            row.done = row.finished or len(row.ids) >= min(s.max_new_tokens, row.room)
        return tokens

    def _drawn(self, rows: Sequence[Row], logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens int64 [rows], and their log-probabilities where they are kept."""
        s = self.settings
        scores = logits.float()
        if s.top_k or s.top_p < 1:
            scores = restrict(scores, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p)
        elif s.temperature != 1:
            scores = scores / s.temperature
        noise = torch.from_numpy(np.stack([self._noise(row, logits.shape[-1]) for row in rows]))
        chosen = draw(scores, noise.to(scores.device))
        if not s.logps:
            return chosen, None
        return chosen, scores.gather(1, chosen[:, None])[:, 0] - scores.logsumexp(-1)

    def _noise(self, row: Row, vocabulary: int) -> np.ndarray:
        if row.noise is None:
            prompt, sample = divmod(row.index, self.settings.n)
            row.noise = RowNoise((self.settings.seed, self.settings.first + prompt, sample), vocabulary)
        return row.noise.next()
