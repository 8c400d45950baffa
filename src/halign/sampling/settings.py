"""How to draw: the settings that local samplers and endpoints share, and which of them are out of range."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from halign.errors import HalignError

MOST_ROWS = 256
"""Replies computed together at most, unless a batch size is given."""
CACHE_BYTES = 1 << 30
"""What keys and values may take on a CPU, unless a batch size is given."""


@dataclass(frozen=True)
class Settings:
    """How to draw.

    Attributes:
        temperature: 0 takes the likeliest token, always.
        top_p, top_k: see ``choose.restrict``; 1.0 and 0 leave the distribution as it is.
        batch_size: replies computed together; None: 256, on a CPU as many of these as a gigabyte of keys and values serves.
        logps: keep each token's log-probability under the distribution it was drawn from.
        fast_prompts: read prompts in bfloat16 (autocast) and write replies in the model's own precision.
            Faster for small models on a CPU; log-probabilities move by about 1e-2.
        stop: strings at which a reply ends.
        refill: let waiting prompts take the places of replies that are done. Replies do not depend on it.
        first: place of the first prompt among all that are asked, where these are some of them: their replies are then those that
            they would get among all.

    Raises:
        HalignError: a setting is out of range.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 200
    seed: int = 0
    batch_size: int | None = None
    logps: bool = False
    fast_prompts: bool = False
    stop: Sequence[str] = ()
    refill: bool = True
    first: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise HalignError(f"sampling: stop is a list of strings: [{self.stop!r}]")
        bounds = {
            "n": self.n >= 1,
            "temperature": self.temperature >= 0,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
            "seed": self.seed >= 0,
            "batch_size": self.batch_size is None or self.batch_size >= 1,
            "stop": all(self.stop),
            "first": self.first >= 0,
        }
        for name, fine in bounds.items():
            if not fine:
                raise HalignError(f"sampling: {name} = {getattr(self, name)} is out of range")

    def prompts_at_once(self, inner: Any, longest: int) -> int:
        """How many prompts are answered together.

        Args:
            inner: the Hugging Face model.
            longest: tokens of the longest prompt.
        """
        if self.batch_size is not None:
            return max(1, self.batch_size // self.n)
        weight = inner.get_input_embeddings().weight
        most = max(1, MOST_ROWS // self.n)
        if weight.device.type != "cpu":
            return most
        layers = getattr(inner.config.get_text_config(), "num_hidden_layers", 32)
        token = 2 * layers * weight.shape[1] * weight.element_size()  # less where queries share keys
        return max(1, min(most, CACHE_BYTES // (token * (longest + self.n * min(self.max_new_tokens, 64)))))
