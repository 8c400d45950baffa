"""From logits to the next token: temperature, top-k, top-p, and a draw whose noise belongs to the row alone.

A token is drawn as argmax of p_i / e_i with e_i independent Exp(1) noise (the Gumbel-max trick). The noise
of a row comes from a generator of its own, so that a reply does not depend on which other prompts share its
batch, and two models that are asked the same prompts with the same seed meet the same noise (which narrows
the interval of their difference).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_NOISE_PER_DRAW = 1 << 15  # numbers drawn from a row's generator at once; part of what a seed means


def restrict(logits: Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Log-probabilities float32 [B, V] of the distribution that is sampled from; -inf where a token is ruled
    out.

    Temperature first, then the ``top_k`` likeliest tokens (0: all), then the smallest set of the likeliest
    tokens whose probabilities (among those left) reach ``top_p``. Ties at the k-th place are kept.

    >>> p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    >>> restrict(p.log(), top_p=0.7).exp().round(decimals=3).tolist()
    [[0.625, 0.375, 0.0, 0.0]]
    >>> restrict(p.log(), top_k=1).exp().tolist()
    [[1.0, 0.0, 0.0, 0.0]]
    """
    logits = logits.float() / temperature
    if 0 < top_k < logits.shape[-1]:
        floor = logits.topk(top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < floor, float("-inf"))
    if top_p < 1.0:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        p = ordered.softmax(dim=-1)
        before = p.cumsum(dim=-1) - p  # probability of everything likelier than this token
        drop = (before >= top_p).scatter(-1, order, before >= top_p)
        logits = logits.masked_fill(drop, float("-inf"))
    return logits.log_softmax(dim=-1)


class Noise:
    """Exp(1) noise for the rows of a batch, [rows, vocabulary] per step.

    Args:
        keys: one tuple of integers per row (seed, prompt index, sample index); the same key gives the same
            noise.
    """

    def __init__(self, keys: list[tuple[int, ...]], vocabulary: int) -> None:
        self.steps = max(1, _NOISE_PER_DRAW // vocabulary)
        self.vocabulary = vocabulary
        self.generators = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(k))) for k in keys]
        self.block: Tensor | None = None
        self.used = 0

    def next(self) -> Tensor:
        """Noise of the next step, float32 [rows, vocabulary], all > 0."""
        if self.block is None or self.used == self.steps:
            shape = (self.steps, self.vocabulary)
            drawn = [g.standard_exponential(shape, dtype=np.float32) for g in self.generators]
            self.block = torch.from_numpy(np.stack(drawn)).clamp_(min=1e-30)
            self.used = 0
        self.used += 1
        return self.block[:, self.used - 1]

    def keep(self, rows: list[int]) -> None:
        """Forget all but these rows."""
        self.generators = [self.generators[r] for r in rows]
        if self.block is not None:
            self.block = self.block[rows]


def draw(logps: Tensor, noise: Tensor) -> Tensor:
    """Token ids int64 [B], drawn from log-probabilities [B, V] by Gumbel-max with Exp(1) noise [B, V]."""
    return (logps - noise.to(logps.device).log()).argmax(dim=-1)
