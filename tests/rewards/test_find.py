"""Rewards and preferences by words."""

from __future__ import annotations

import math

import pytest

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.rewards.find import find_preferences, find_reward
from halign.rewards.protocol import ByReward

PROMPTS = [Dialogue.of("a"), Dialogue.of("b")]


def length(prompts, replies):
    return [len(r) for r in replies]


def one_short(prompts, replies):
    return [0.0] * (len(replies) - 1)


class Longer:
    def prefers(self, comparisons):
        return [float(len(a) > len(b)) for _, a, b in comparisons]


def test_functions_are_rewards() -> None:
    reward = find_reward(f"{__name__}:length")
    assert reward.score(PROMPTS, ["x", "yyy"]) == [1.0, 3.0]
    with pytest.raises(HalignError, match="gave 1 numbers for 2 replies"):
        find_reward(f"{__name__}:one_short").score(PROMPTS, ["x", "y"])


def test_a_reward_decides_by_its_differences() -> None:
    prefers = find_preferences(f"{__name__}:length").prefers
    forth, back = prefers([(PROMPTS[0], "xxx", "y"), (PROMPTS[0], "y", "xxx")])
    assert forth == pytest.approx(1 / (1 + math.exp(-2.0)))
    assert forth + back == pytest.approx(1.0)


def test_replies_are_scored_once_and_under_their_own_prompt() -> None:
    asked = []

    class Noting:
        def score(self, prompts, replies):
            asked.extend((p.messages[0].content, r) for p, r in zip(prompts, replies, strict=True))
            return [float(len(r)) for r in replies]

    a, b = PROMPTS
    ByReward(Noting()).prefers([(a, "x", "yy"), (a, "x", "zzz"), (b, "x", "yy")])
    assert sorted(asked) == [("a", "x"), ("a", "yy"), ("a", "zzz"), ("b", "x"), ("b", "yy")]


def test_extreme_rewards_give_certain_preferences() -> None:
    class Huge:
        def score(self, prompts, replies):
            return [1e6 if r == "good" else -1e6 for r in replies]

    assert ByReward(Huge()).prefers([(PROMPTS[0], "good", "bad"), (PROMPTS[0], "bad", "good")]) == [1.0, 0.0]


def test_classes_are_made_and_asked() -> None:
    assert find_preferences(f"{__name__}:Longer").prefers([(PROMPTS[0], "xx", "y")]) == [1.0]


def test_worlds_have_rules() -> None:
    from halign.worlds import care

    prompt = care.test_prompts(1, split="validation", seed=1)[0]
    assert find_reward("care").score([prompt], [care.good_reply(prompt, seed=0)]) == [1.0]
    assert find_reward({"world": "care", "whole": True}).whole


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("no.such:thing", "cannot be imported"),
        ({"world": "mars"}, "no world 'mars'"),
        ({"world": "care", "weigths": {}}, "weigths"),
        ({"endpoint": "http://localhost:1/v1"}, "needs model="),
        ("/no/such/folder", "there is no folder /no/such/folder"),
        ("math:pi", "no function"),
    ],
)
def test_mistakes_are_named(words, says) -> None:
    with pytest.raises(HalignError, match=says):
        find_reward(words)


def test_a_language_model_that_grades_here_is_a_reward(policy_folder) -> None:
    reward = find_reward({"grader": str(policy_folder), "least_mass": 0.0, "scaled": True})
    assert all(-1 <= r <= 1 for r in reward.score(PROMPTS, ["x", "yyy"]))


def test_an_endpoint_that_grades_is_a_reward() -> None:
    reward = find_reward(
        {"endpoint": "http://localhost:1/v1", "model": "m", "scaled": True, "criteria": "Be kind."}
    )
    assert reward.scaled
    assert (reward.scorer.criteria, reward.scorer.client.endpoint.model) == ("Be kind.", "m")


def test_several_processes_divide_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each asks about its share of the replies, and together they may spend what was allowed."""
    words = {
        "endpoint": "http://localhost:1/v1",
        "model": "m",
        "input_price": 1,
        "output_price": 2,
        "budget": 3,
    }
    for ranks, own in (("1", 3.0), ("4", 0.75)):
        monkeypatch.setenv("WORLD_SIZE", ranks)
        for found in (find_reward(words).scorer, find_preferences(words).labeller):  # type: ignore[attr-defined]
            assert found.client.spent.budget.amount == own
