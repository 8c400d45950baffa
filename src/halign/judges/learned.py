"""Reward models and pairwise preference models as judges.

Neither knows what is acceptable. A reward model names the reply with the higher reward; replies whose rewards differ by no
more than ``margin`` are both acceptable if their mean is at least ``acceptable``, else neither is. A pairwise model is shown
both orders like any judge that can see them; where it is within ``margin`` of one half, both are taken to be acceptable.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from halign.errors import HalignError
from halign.judges.protocol import Mark, PlainVerdicts, Prompts, Replies, Ruling, Verdict

if TYPE_CHECKING:
    from halign.rewards.model import RewardModel

DIMENSION = "reward"


class RewardJudge(PlainVerdicts):
    """Compares and grades by a reward. Blind to order.

    A grade is the logistic function of the reward, in [0, 1]: under Bradley and Terry's model the probability of being better
    than a reply of reward 0, which is an average demonstration's if the model was centred (``halign score --centre``).

    Args:
        reward: anything with ``score(prompts, replies)`` (``halign.rewards.protocol.Reward``).
        acceptable: the least reward of an acceptable reply; None: not said of grades, and 0 where two replies are alike.
        margin: rewards that differ by no more are alike.
        dimension: what the verdicts are called.

    Raises:
        HalignError: ``margin`` is negative.
    """

    sees_order = False

    def __init__(
        self,
        reward: Any,
        *,
        name: str = "reward",
        acceptable: float | None = None,
        margin: float = 0.0,
        dimension: str = DIMENSION,
    ) -> None:
        if margin < 0:
            raise HalignError(f"judge: margin = {margin:g} is negative")
        self.reward, self.name, self.acceptable, self.margin = reward, name, acceptable, margin
        self.dimensions = (dimension,)

    @property
    def settings(self) -> dict[str, Any]:
        """What verdicts depend on."""
        return {"kind": "reward", "model": self.name, "acceptable": self.acceptable, "margin": self.margin}

    def rulings(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[list[Ruling]]:
        """The verdict of the difference of rewards; both are scored in one call, which reads a shared prompt once."""
        second = prompts if others is None else others
        found = self.reward.score([*prompts, *second], [*a, *b])
        of_a, of_b = found[: len(prompts)], found[len(prompts) :]
        return [[Ruling(self.dimensions[0], self._verdict(x, y))] for x, y in zip(of_a, of_b, strict=True)]

    def marks(self, prompts: Prompts, replies: Replies) -> list[list[Mark]]:
        """The logistic function of each reward."""
        least = self.acceptable
        return [
            [Mark(self.dimensions[0], sigmoid(r), acceptable=None if least is None else r >= least)]
            for r in self.reward.score(prompts, replies)
        ]

    def _verdict(self, x: float, y: float) -> Verdict:
        if abs(x - y) <= self.margin:
            return Verdict.BOTH if (x + y) / 2 >= (self.acceptable or 0.0) else Verdict.NEITHER
        return Verdict.A if x > y else Verdict.B


class PairwiseJudge(PlainVerdicts):
    """Compares by a pairwise preference model, which reads both replies and so sees their order.

    Args:
        model: from ``halign.load_reward``, of kind ``pairwise``.
        margin: how far from one half a probability must be for a verdict, in [0, 1/2).
        options: of ``RewardModel.first_wins`` (``max_tokens``, ``dtype``).

    Raises:
        HalignError: the model is of another kind, or ``margin`` is out of range.
    """

    sees_order = True

    def __init__(
        self, model: RewardModel, *, name: str = "pairwise", margin: float = 0.0, **options: Any
    ) -> None:
        if model.facts.kind != "pairwise":
            raise HalignError(
                f"judge: {model.path} is a reward model and not a pairwise one; take reward:{model.path}"
            )
        if not 0 <= margin < 0.5:
            raise HalignError(f"judge: margin = {margin:g} is out of range (0 to below 0.5)")
        self.model, self.name, self.margin, self.options = model, name, margin, options
        self.dimensions = (DIMENSION,)

    @property
    def settings(self) -> dict[str, Any]:
        """What verdicts depend on."""
        return {"kind": "pairwise", "model": self.name, "margin": self.margin, **self.options}

    def rulings(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[list[Ruling]]:
        """The verdict of P(the reply shown first beats the second).

        Raises:
            HalignError: the replies answer different prompts.
        """
        if others is not None:
            raise HalignError(
                f"judge {self.name}: a pairwise model reads two replies to one prompt, not two conversations"
            )
        chances = self.model.first_wins(list(zip(prompts, a, b, strict=True)), **self.options).tolist()
        return [[Ruling(DIMENSION, self._verdict(p))] for p in chances]

    def _verdict(self, p: float) -> Verdict:
        if abs(p - 0.5) <= self.margin:
            return Verdict.BOTH
        return Verdict.A if p > 0.5 else Verdict.B


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow.

    >>> sigmoid(0.0), sigmoid(-1000.0)
    (0.5, 0.0)
    """
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
