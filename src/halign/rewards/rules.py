"""Rewards that are computed, not learnt: a world's exact rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.rules import DIMENSIONS, Grade, RulesJudge


class RuleReward:
    """How much of what was asked for a reply does, by exact rules: 0 (nothing) to 1 (everything).

    Three parts are weighed: ``adherence``, the share of the guardrails in force that it keeps (1 where none has an occasion);
    ``naturalness`` and ``hallucination``, each 1 or 0 (1 is good: nothing invented).

    Args:
        assess: (prompt, reply) -> what the world says of it, such as ``halign.worlds.care.assess``.
        weights: of the three parts, made to sum to 1; None: all alike.
        whole: 1 for a reply that is right in everything that has a weight, else 0.

    Raises:
        HalignError: if a weight is negative, names no part, or all are zero.
    """

    def __init__(
        self,
        assess: Callable[[Dialogue, str], Any],
        *,
        weights: Mapping[str, float] | None = None,
        whole: bool = False,
    ) -> None:
        given = dict.fromkeys(DIMENSIONS, 1.0) if weights is None else dict(weights)
        for name, weight in given.items():
            if name not in DIMENSIONS or weight < 0:
                raise HalignError(
                    f"weights: {name}={weight:g}; {', '.join(DIMENSIONS)} take weights of 0 or more"
                )
        total = sum(given.values())
        if not total:
            raise HalignError("weights: all are zero, so every reply would get the same reward")
        self.weights = {name: weight / total for name, weight in given.items()}
        self.judge, self.whole = RulesJudge(assess), whole

    def score(self, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
        """Rewards in [0, 1]."""
        return [self._reward(grade) for grade in self.judge.grade(prompts, replies)]

    def _reward(self, grade: Grade) -> float:
        if self.whole:
            return float(all(grade.acceptable[name] for name, weight in self.weights.items() if weight))
        parts = grade.parts
        return sum(weight * parts[name] for name, weight in self.weights.items())


def care_rules(**options: Any) -> RuleReward:
    """The care world's rules. Options are ``RuleReward``'s.

    >>> from halign.worlds import care
    >>> prompt = care.test_prompts(1, split="validation", seed=1)[0]
    >>> care_rules().score([prompt, prompt], [care.good_reply(prompt, seed=0), "The lamp the lamp will"])[0]
    1.0
    """
    from halign.worlds import care

    return RuleReward(care.assess, **options)
