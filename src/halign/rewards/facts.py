"""What a reward model's outputs mean: kept beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

REWARD = "halign_reward.json"
"""The file in a model's folder that says it."""


@dataclass(frozen=True)
class Facts:
    """What a reward model's outputs mean.

    Attributes:
        kind: ``reward``: one number; ``attributes``: one or several per attribute; ``pairwise``: the logit of P(the first of two
            responses beats the second).
        attributes: their names, in the order of the outputs.
        levels: of categorical attributes, how many values each may have, from 0; 0: every attribute is a number.
        bias: what is added to a reward (``rewards.centring``); the head does not contain it, so that transformers alone gives
            rewards without it.
    """

    kind: Literal["reward", "attributes", "pairwise"] = "reward"
    attributes: tuple[str, ...] = ()
    levels: int = 0
    bias: float = 0.0

    @property
    def outputs(self) -> Facts:
        """What a head has to fit: all but the bias."""
        return replace(self, bias=0.0)

    @property
    def labels(self) -> list[str]:
        """A name for every output.

        >>> Facts("attributes", ("clear", "short"), 2).labels
        ['clear:0', 'clear:1', 'short:0', 'short:1']
        """
        if self.kind != "attributes":
            return [self.kind]
        if not self.levels:
            return list(self.attributes)
        return [f"{name}:{level}" for name in self.attributes for level in range(self.levels)]

    def save(self, folder: str | Path) -> None:
        """Write them into a model's folder."""
        (Path(folder) / REWARD).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Facts | None:
        """Those of a model's folder; None if it has none."""
        file = folder / REWARD
        if not file.exists():
            return None
        found: Mapping[str, Any] = json.loads(file.read_text())
        return cls(**{**found, "attributes": tuple(found["attributes"])})
