"""What a judge is, and how its verdicts are read in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from halign.dialogue import Dialogue


class Verdict(StrEnum):
    """What a judge says of two replies, A and B, on one dimension (seed 000's four bins)."""

    BOTH = "both acceptable"
    NEITHER = "neither acceptable"
    A = "A better"
    B = "B better"

    @property
    def swapped(self) -> Verdict:
        """The same verdict when the two replies change places.

        >>> Verdict.A.swapped.value, Verdict.BOTH.swapped.value
        ('B better', 'both acceptable')
        """
        return {Verdict.A: Verdict.B, Verdict.B: Verdict.A}.get(self, self)


class Judge(Protocol):
    """Compares two replies to each prompt on several dimensions.

    Attributes:
        dimensions: what it judges, such as ("adherence", "naturalness", "hallucination").
        sees_order: False if swapping the replies cannot change the verdict (exact rules, single-answer
            grades). Such a judge is asked once.
    """

    dimensions: tuple[str, ...]
    sees_order: bool

    def compare(
        self, prompts: Sequence[Dialogue], a: Sequence[str], b: Sequence[str]
    ) -> list[dict[str, Verdict]]:
        """One verdict per prompt and dimension."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """One comparison in both orders. ``second`` is already turned back, so that A is the same reply in
    both.
    """

    first: Verdict
    second: Verdict

    @property
    def agrees(self) -> bool:
        return self.first is self.second

    def share(self, verdict: Verdict) -> float:
        """How much of this comparison goes to ``verdict``: 1, 0, or a half where the orders disagree."""
        return ((self.first is verdict) + (self.second is verdict)) / 2

    @property
    def advantage(self) -> float:
        """P(A better) - P(B better) of this comparison, in [-1, 1]; orders that disagree count half each way.

        >>> Outcome(Verdict.A, Verdict.A).advantage, Outcome(Verdict.A, Verdict.B).advantage
        (1.0, 0.0)
        >>> Outcome(Verdict.A, Verdict.BOTH).advantage
        0.5
        """
        return self.share(Verdict.A) - self.share(Verdict.B)


def both_orders(
    judge: Judge, prompts: Sequence[Dialogue], a: Sequence[str], b: Sequence[str]
) -> list[dict[str, Outcome]]:
    """Ask the judge twice, A first and B first; a judge that cannot see the order is asked once."""
    if not len(prompts) == len(a) == len(b):
        raise ValueError(f"{len(prompts)} prompts, {len(a)} and {len(b)} replies")
    first = judge.compare(prompts, a, b)
    second = judge.compare(prompts, b, a) if judge.sees_order else None
    outcomes = []
    for i, forward in enumerate(first):
        backward = {d: v.swapped for d, v in second[i].items()} if second is not None else forward
        outcomes.append({d: Outcome(forward[d], backward[d]) for d in judge.dimensions})
    return outcomes
