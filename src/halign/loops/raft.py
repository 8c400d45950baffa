"""Reward-ranked fine-tuning: imitate the best of what was sampled (Dong et al. 2023, arXiv 2304.06767).

Each round draws K replies to every prompt, keeps those with the highest rewards, and imitates them, from the previous round's
model on. ``local`` keeps the best of each prompt (best of K); ``top`` ranks all replies of the round together, so that prompts
with good replies give more of them. There are no weights, no reference and no penalty: what holds the policy near its start is
only that everything it imitates is its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field, model_validator

from halign.convert import Converted
from halign.examples import Demonstration
from halign.loops.groups import Group
from halign.loops.round_settings import RoundSettings
from halign.loops.rounds import Rounds

Keep = Literal["local", "top"]


class Settings(RoundSettings):
    """Of ``raft``."""

    makes = "demonstrations"

    rounds: int = Field(3, ge=1, description="times that the policy is sampled and trained")
    samples: int = Field(8, ge=1, description="replies drawn for a prompt")
    objective: str = Field("sft", description="what each round trains with")
    keep: Keep = Field(
        "local", description="the best reply of each prompt, or the best of the whole round (top)"
    )
    share: float | None = Field(
        None, gt=0, le=1, description="with keep=top: share of all replies that is kept; unset: 1 / samples"
    )

    @model_validator(mode="after")
    def _share_has_an_effect(self) -> Settings:
        if self.share is not None and self.keep != "top":
            raise ValueError("share would have no effect: it needs keep=top")
        return self


def raft(
    groups: Sequence[Group], *, samples: int, keep: Keep = "local", share: float | None = None
) -> Converted[Demonstration]:
    """The replies to imitate.

    Of equal rewards the reply that was drawn first is kept, which is a fair choice since draws are alike; with ``top``, between
    prompts, the one that comes first after that.

    Args:
        samples: K, for ``share``.
        share: of all replies, kept with ``top``, rounded, at least one; None: 1 / K.
    """
    scored = [g.scored() for g in groups]
    places = [(n, k) for n, rewards in enumerate(scored) for k in range(len(rewards))]
    ranked = sorted(places, key=lambda place: (-scored[place[0]][place[1]], place[1], place[0]))
    kept = (
        _first_of_each(ranked)
        if keep == "local"
        else ranked[: max(1, round(len(places) * (share or 1 / samples)))]
    )
    made = []
    for n, k in sorted(kept):
        group = groups[n]
        made.append(Demonstration(group.prompt + group.message(k), group.conversation, (len(group.prompt),)))
    left = len(places) - len(kept)
    return Converted(made, {"replies that are not among the best": left} if left else {})


def _first_of_each(ranked: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    best: dict[int, int] = {}
    for n, k in ranked:
        best.setdefault(n, k)
    return list(best.items())


LOOP = Rounds(
    "raft", "imitate the best of K own replies, round after round", Settings, ("reward",), raft
).loop()
