"""What a round knows of one prompt: the policy's replies, what was said of them, and the data's own response.

Builders turn groups into examples. They are pure functions of words and numbers:

>>> group = Group(Dialogue.of("2+2="), "sums", ("4", "5"), rewards=(1.0, 0.0))
>>> group.preference(0, 1) > 0.5, group.preference(1, 0) < 0.5
(True, True)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import expit

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import HalignError

OWN = -1
"""The place of the data's own response in comparisons."""

Pair = tuple[int, int]
"""Two replies of a group, by their places, the smaller one first."""


@dataclass(frozen=True)
class Group:
    """One prompt of one round.

    Attributes:
        replies: K replies of the policy, in the order they were drawn.
        own: the data's own response, None where it has none.
        rewards: one per reply; None where no reward was asked.
        beats: (i, j), i < j -> P(i is better than j), as far as it was asked; None where nobody compares, so that rewards decide.
        seed: for whatever a builder draws; it differs between prompts and rounds.
    """

    prompt: Dialogue
    conversation: str
    replies: tuple[str, ...]
    own: Message | None = None
    rewards: tuple[float, ...] | None = None
    beats: Mapping[Pair, float] | None = None
    seed: tuple[int, ...] = (0,)

    def words(self, i: int) -> str:
        """The i-th reply; ``OWN``: the data's response, without space around it, as replies are."""
        if i == OWN:
            assert self.own is not None
            return self.own.content.strip()
        return self.replies[i]

    def message(self, i: int) -> Message:
        """The i-th reply as a message; ``OWN``: the data's response."""
        if i == OWN:
            assert self.own is not None
            return self.own
        return Message(RAW if self.prompt.is_raw else "assistant", self.replies[i])

    def scored(self) -> tuple[float, ...]:
        """The rewards.

        Raises:
            HalignError: if none were asked.
        """
        if self.rewards is None:
            raise HalignError(f"a prompt of conversation {self.conversation!r} has replies without rewards")
        return self.rewards

    def known(self, i: int, j: int) -> float | None:
        """P(i is better than j); None if it has not been asked yet. Same words are as good as each other. Where nobody compares,
        it is Bradley and Terry's, of the rewards."""
        if i == j or self.words(i) == self.words(j):
            return 0.5
        if self.beats is None:
            rewards = self.scored()
            return float(expit(rewards[i] - rewards[j]))
        if (i, j) in self.beats:
            return self.beats[i, j]
        return 1 - self.beats[j, i] if (j, i) in self.beats else None

    def preference(self, i: int, j: int) -> float:
        """P(i is better than j), which has been asked.

        Raises:
            HalignError: if it has not.
        """
        p = self.known(i, j)
        if p is None:
            raise HalignError(
                f"replies {i} and {j} to a prompt of conversation {self.conversation!r} were not compared"
            )
        return p

    def win_rates(self) -> tuple[float, ...]:
        """Mean probability of beating each of the K replies, 1/2 against itself (SPPO, arXiv 2405.00675, equation 4.6).

        >>> Group(Dialogue.of("Q"), "c", ("a", "b", "c"), beats={(0, 1): 0.7, (0, 2): 0.9, (1, 2): 0.6}).win_rates()
        (0.7, 0.4666666666666666, 0.3333333333333333)
        """
        k = range(len(self.replies))
        return tuple(math.fsum(self.preference(i, j) for j in k) / len(k) for i in k)


def every_pair(group: Group) -> list[Pair]:
    """All pairs of the replies, K(K-1)/2; those of the same words need no asking."""
    k = range(len(group.replies))
    return [(i, j) for i in k for j in k[i + 1 :] if group.words(i) != group.words(j)]
