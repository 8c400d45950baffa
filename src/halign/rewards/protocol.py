"""What gives a reward, or says which of two replies is better: the same few words for reward models, rules, and language models.

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
from typing import TYPE_CHECKING, Any, Protocol

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.learned import sigmoid
from halign.rewards.model import RewardModel

if TYPE_CHECKING:
    from halign.judges.labeller import PairwiseLabeller


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


Comparison = tuple[Dialogue, str, str]
"""A prompt, a reply, and another reply."""


class Preferences(Protocol):
    """Says which of two replies is better."""

    def prefers(self, comparisons: Sequence[Comparison]) -> list[float]:
        """P(the first reply is better than the second), in [0, 1], one per comparison; swapped, the rest to 1."""
        ...


class ByReward:
    """Preferences by a reward: P(a beats b) = sigma((r(a) - r(b)) / scale), as Bradley and Terry have it.

    Args:
        scale: by how much rewards differ where the better one wins with probability sigma(1) = .73; > 0.

    >>> class Short:
    ...     def score(self, prompts, replies):
    ...         return [-float(len(reply)) for reply in replies]
    >>> from halign.dialogue import Dialogue
    >>> round(ByReward(Short()).prefers([(Dialogue.of("2+2="), "4", "four")])[0], 4)
    0.9526
    """

    def __init__(self, reward: Reward, scale: float = 1.0) -> None:
        if not scale > 0:
            raise HalignError(f"scale: {scale} is not above 0")
        self.reward, self.scale = reward, scale

    def prefers(self, comparisons: Sequence[Comparison]) -> list[float]:
        """P(first is better); every distinct reply is scored once."""
        asked = {(id(p), r): p for p, a, b in comparisons for r in (a, b)}
        scored = self.reward.score(list(asked.values()), [r for _, r in asked])
        by_key = dict(zip(asked, scored, strict=True))
        gaps = [by_key[id(p), a] - by_key[id(p), b] for p, a, b in comparisons]
        return [sigmoid(gap / self.scale) for gap in gaps]


class LearnedPreferences:
    """A reward model's preferences; a pairwise model reads both orders.

    Args:
        model: from ``halign.load_reward``.
        options: of ``RewardModel.prefers`` (``max_tokens``, ``dtype``).
    """

    def __init__(self, model: RewardModel, **options: Any) -> None:
        self.model, self.options = model, options

    def prefers(self, comparisons: Sequence[Comparison]) -> list[float]:
        """P(first is better)."""
        found: list[float] = self.model.prefers(comparisons, **self.options).tolist()
        return found


class LabelledPreferences:
    """A language model's preferences, asked in both orders (RLAIF). What was paid for is in the cache, whatever happens."""

    def __init__(self, labeller: PairwiseLabeller) -> None:
        self.labeller = labeller

    def prefers(self, comparisons: Sequence[Comparison]) -> list[float]:
        """P(first is better), the mean of both orders; one half where the model gave no answer.

        Raises:
            HalignError: if it gave no answer to most of them.
        """
        from halign.llm import Failure

        prompts, first, second = zip(*comparisons, strict=True) if comparisons else ((), (), ())
        labels = self.labeller.label(prompts, first, second).labels
        failed = [label for label in labels if isinstance(label, Failure)]
        if 2 * len(failed) > len(labels):
            raise HalignError(
                f"{len(failed)} of {len(labels)} comparisons got no answer: {failed[0].problem}"
            )
        return [0.5 if isinstance(label, Failure) else label.preference for label in labels]
