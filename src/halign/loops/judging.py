"""What is said of sampled replies: rewards, and which of two is better, as far as a loop asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.loops.groups import Group, Pair
from halign.rewards.protocol import Comparison, Preferences, Reward

Row = dict[str, Any]
Asks = Callable[[Group], Sequence[Pair]]
"""The pairs of a group that have to be compared; asked again with what was answered, until there are no new ones."""


def judge(
    groups: Sequence[Group], reward: Reward | None, preferences: Preferences | None, asks: Asks | None
) -> list[Group]:
    """The groups with rewards, given a reward, and with the comparisons that ``asks`` wants, given preferences.

    Raises:
        HalignError: if a reward is not finite or a probability not in [0, 1].
    """
    if reward is not None:
        groups = _rewarded(groups, reward)
    if preferences is None or asks is None:
        return list(groups)
    judged = [replace(g, beats={}) for g in groups]
    while wanted := [(n, pair) for n, g in enumerate(judged) for pair in asks(g) if g.known(*pair) is None]:
        comparisons = [(judged[n].prompt, judged[n].words(i), judged[n].words(j)) for n, (i, j) in wanted]
        for (n, pair), p in zip(wanted, preferred(preferences, comparisons), strict=True):
            judged[n] = replace(judged[n], beats={**(judged[n].beats or {}), pair: p})
    return judged


def judgement(group: Group) -> Row:
    """What was said of a group's replies, for judged.jsonl; -1 is the data's own response."""
    row: Row = {"conversation": group.conversation}
    if group.rewards is not None:
        row["rewards"] = list(group.rewards)
    if group.beats is not None:
        row["comparisons"] = [[i, j, p] for (i, j), p in group.beats.items()]
    return row


def with_judgement(group: Group, row: Mapping[str, Any]) -> Group:
    """The group with what ``judgement`` wrote of it."""
    rewards, compared = row.get("rewards"), row.get("comparisons")
    return replace(
        group,
        rewards=None if rewards is None else tuple(rewards),
        beats=None if compared is None else {(i, j): p for i, j, p in compared},
    )


def _rewarded(groups: Sequence[Group], reward: Reward) -> list[Group]:
    asked = [(g.prompt, words) for g in groups for words in g.replies]
    each = iter(rewards_of(reward, [p for p, _ in asked], [words for _, words in asked]))
    return [replace(g, rewards=tuple(next(each) for _ in g.replies)) for g in groups]


def rewards_of(reward: Reward, prompts: Sequence[Dialogue], replies: Sequence[str]) -> list[float]:
    """What a reward says.

    Raises:
        HalignError: if that is not a finite number for every reply.
    """
    scores = [float(score) for score in reward.score(prompts, replies)]
    _check(scores, replies, "reward", math.isfinite, "a finite number")
    return scores


def preferred(preferences: Preferences, comparisons: Sequence[Comparison]) -> list[float]:
    """What preferences say.

    Raises:
        HalignError: if that is not a probability for every comparison.
    """
    answers = [float(p) for p in preferences.prefers(comparisons)]
    _check(
        answers, [first for _, first, _ in comparisons], "preferences", lambda p: 0 <= p <= 1, "a probability"
    )
    return answers


def _check(
    values: Sequence[float], replies: Sequence[str], who: str, fine: Callable[[float], bool], what: str
) -> None:
    if len(values) != len(replies):
        raise HalignError(f"{who}: {len(values)} numbers came back for {len(replies)}")
    for value, reply in zip(values, replies, strict=True):
        if not fine(value):
            raise HalignError(f"{who}: {value} came back where {what} was expected, for {reply[:80]!r}")
