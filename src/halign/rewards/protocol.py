"""What gives a reward: the same few words for reward models, rules, and language models that grade.

Loops that sample know nothing but this. Whatever has such a ``score`` will do, so a function of one's own needs no class of ours:

>>> class Short:
...     def score(self, prompts, replies):
...         return [-float(len(reply)) for reply in replies]
>>> rated: Reward = Short()
>>> rated.score([], [])
[]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from halign.dialogue import Dialogue
from halign.rewards.model import RewardModel


class Reward(Protocol):
    """Says how good replies are."""

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        """One number per reply, higher is better; finite. The k-th reply answers the k-th prompt; prompts may repeat.

        A grader that is asked over a network (a language model that is shown prompt and reply and whose expected grade is the
        reward) keeps the order, and raises ``HalignError`` where it has no number to give.
        """
        ...


class LearnedReward:
    """A reward model as a ``Reward``; replies to one prompt share its reading.

    Args:
        model: from ``halign.load_reward``; of attributes, their weighted sum counts.
        options: of ``RewardModel.score`` (``max_tokens``, ``dtype``).
    """

    def __init__(self, model: RewardModel, **options: Any) -> None:
        self.model, self.options = model, options

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        """Rewards.

        Raises:
            HalignError: from a pairwise model.
        """
        asked = list(zip(prompts, replies, strict=True))
        scored: list[float] = self.model.rewards(asked, **self.options).tolist()
        return scored
