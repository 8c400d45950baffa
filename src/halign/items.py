"""Rendered training items: token paths, and what is known about them. The boundary between text and tensors.

Rendering makes items from examples; the plan decides which share a pack; scoring reads log-probabilities off them;
training turns them into the ``Pairs``, ``Singles`` ... that objectives take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Ids = np.ndarray
"""Token ids, int32 [n]."""

Kind = Literal["pairs", "lists", "singles", "tokens", "rollouts"]


@dataclass(frozen=True, slots=True)
class Path:
    """One prompt and one response, as token ids.

    Attributes:
        prompt: int32 [p]; what the model reads before it has to answer, generation prompt included.
        response: int32 [n]; what it is to say, up to and including the end-of-turn token.
        loss_mask: bool [n], or None when every response token counts.
    """

    prompt: Ids
    response: Ids
    loss_mask: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.prompt) + len(self.response)

    @property
    def ids(self) -> Ids:
        """The whole sequence, int32 [p + n]."""
        return np.concatenate([self.prompt, self.response])


@dataclass(frozen=True, slots=True)
class Item:
    """One thing an objective sees: a response to imitate (1 path), a rated response (1), a pair (2: chosen, rejected),
    a list (K, best first), or a reply that the policy drew itself (1).

    Attributes:
        kind: which of ``Pairs``, ``Lists``, ``Singles``, ``Tokens``, ``Rollouts`` it becomes.
        values: scalars by field name (``preference``, ``desirable``, ``chosen_win_rate``, ``rewards`` as a tuple ...);
            ``imitate``: its first response also serves the token objective of a mixture.
        turn: position of the response in its conversation (message index), -1 if unknown.
        per_token: of a rollout, float32 [n] for its n response tokens, by field of ``Rollouts`` (``old_logps`` ...).
    """

    kind: Kind
    paths: tuple[Path, ...]
    conversation: str
    weight: float = 1.0
    values: Mapping[str, float | bool | tuple[float, ...]] = field(default_factory=dict)
    turn: int = -1
    per_token: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """Tokens of all paths, shared prefixes counted every time."""
        return sum(len(p) for p in self.paths)
