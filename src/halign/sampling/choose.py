"""From logits to the next token: temperature, top-k, top-p, and a draw whose noise belongs to the row alone.

A token is drawn as argmax of p_i / e_i with e_i independent Exp(1) noise (the Gumbel-max trick). The noise
of a row comes from a generator of its own, so that a reply does not depend on which other prompts share its
batch, and two models that are asked the same prompts with the same seed meet the same noise (which narrows
the interval of their difference).
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

_NOISE_PER_DRAW = 1 << 15  # numbers drawn from a row's generator at once; part of what a seed means


def restrict(logits: Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Log-probabilities float32 [B, V] of the distribution that is sampled from; -inf where a token is ruled
    out.

    Temperature first, then the ``top_k`` likeliest tokens (0: all), then the smallest set of the likeliest
    tokens whose probabilities (among those left) reach ``top_p``. Ties at the k-th place are kept.

    >>> import torch
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


class RowNoise:
    """Exp(1) noise for one row, a vector over the vocabulary per step.

    Args:
        key: integers (seed, prompt index, sample index); the same key gives the same noise.
    """

    def __init__(self, key: tuple[int, ...], vocabulary: int) -> None:
        self.shape = (max(1, _NOISE_PER_DRAW // vocabulary), vocabulary)
        self.generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        self.used = self.shape[0]

    def next(self) -> np.ndarray:
        """Noise of the next step, float32 [vocabulary], all >= 0."""
        if self.used == self.shape[0]:
            self.block = self.generator.standard_exponential(self.shape, dtype=np.float32)
            self.used = 0
        self.used += 1
        return self.block[self.used - 1]


def draw(scores: Tensor, noise: Tensor) -> Tensor:
    """Token ids int64 [B], drawn from log-probabilities [B, V] (up to a constant a row) by Gumbel-max with Exp(1) noise
    [B, V]."""
    return (scores - noise.clamp(min=1e-30).log_()).argmax(dim=-1)
