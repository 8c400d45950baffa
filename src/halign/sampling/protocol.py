"""What a sampler is: prompts in, replies out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from halign.dialogue import Dialogue
from halign.items import Ids


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled reply.

    Attributes:
        text: the reply as a reader sees it, without the stop token.
        ids: int32 [n], the ids as they were sampled, stop token included. Score these, not the text encoded
            again.
        finished: True if the model said it was done or a stop string ended it; False if it was cut off at
            ``max_new_tokens``, or where the model's positions end.
        logps: float32 [n], log-probability of each token under the distribution it was drawn from (after
            temperature, top-k and top-p), in nats; None unless asked for.
    """

    text: str
    ids: Ids = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    finished: bool = True
    logps: np.ndarray | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; ``logps`` are left out."""
        return {"text": self.text, "ids": [int(i) for i in self.ids], "finished": self.finished}

    @classmethod
    def of(cls, row: dict[str, Any]) -> Sample:
        """The sample that ``to_dict`` wrote."""
        return cls(row["text"], np.asarray(row["ids"], dtype=np.int32), row["finished"])


Progress = Callable[[int, int], None]
"""Called with (replies done, replies in all)."""


class Sampler(Protocol):
    """Anything that answers prompts: a local model, or a remote one."""

    def sample(
        self,
        prompts: Sequence[Dialogue],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 200,
        stop: Sequence[str] = (),
        seed: int = 0,
        logps: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Sample]]:
        """``n`` replies to each prompt, in the order of the prompts.

        Args:
            stop: a reply ends where one of these strings appears; its text is cut before it, its ids are kept up to and
                including the token that completed it.
            logps: fill ``Sample.logps``.
        """
        ...
