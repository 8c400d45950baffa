"""What is said of sampled replies: rewards, and which of two is better, as far as a loop asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from halign.errors import HalignError
from halign.loops.groups import Group, Pair
from halign.rewards.protocol import Preferences, Reward

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
        answers = preferences.prefers(comparisons)
        _check(answers, len(wanted), "preferences", lambda p: 0 <= p <= 1, "a probability")
        for (n, pair), p in zip(wanted, answers, strict=True):
            judged[n] = replace(judged[n], beats={**(judged[n].beats or {}), pair: float(p)})
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
    scores = reward.score([p for p, _ in asked], [words for _, words in asked])
    _check(scores, len(asked), "reward", math.isfinite, "a finite number")
    each = iter(map(float, scores))
    return [replace(g, rewards=tuple(next(each) for _ in g.replies)) for g in groups]


def _check(values: Sequence[float], count: int, who: str, fine: Callable[[float], bool], what: str) -> None:
    if len(values) != count:
        raise HalignError(f"{who}: {len(values)} numbers came back for {count}")
    for value in values:
        if not fine(value):
            raise HalignError(f"{who}: {value} came back where {what} was expected")
