"""Rules and reward models behind one protocol."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.models import Policy
from halign.rewards.facts import Facts
from halign.rewards.protocol import LearnedReward, Reward
from halign.rewards.rules import RuleReward, care_rules
from halign.rewards.starting import from_causal
from halign.worlds import care
from tests.conftest import make_llama


class Said:
    """An assessment, by hand."""

    def __init__(self, kept: int, broken: int, natural: bool, invented: bool) -> None:
        self.adherence = {f"g{k}": k < kept for k in range(kept + broken)}
        self.inactive: dict[str, bool] = {}
        self.natural, self.hallucination = natural, invented


def reward_of(said: Said, **options: Any) -> float:
    return RuleReward(lambda prompt, reply: said, **options).score([Dialogue(())], ["reply"])[0]


def test_parts_are_weighed() -> None:
    said = Said(kept=1, broken=3, natural=True, invented=True)
    assert reward_of(said) == pytest.approx((0.25 + 1 + 0) / 3)
    assert reward_of(said, weights={"adherence": 3, "naturalness": 1}) == pytest.approx(0.75 * 0.25 + 0.25)
    assert reward_of(said, whole=True) == 0.0
    assert reward_of(said, weights={"naturalness": 2}, whole=True) == 1.0
    assert reward_of(Said(0, 0, True, False)) == 1.0


@pytest.mark.parametrize("weights", [{"clarity": 1.0}, {"adherence": -1.0}, {"adherence": 0.0}])
def test_weights_that_mean_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(HalignError, match="weights"):
        care_rules(weights=weights)


def test_the_care_worlds_rules_tell_good_from_broken() -> None:
    rules: Reward = care_rules()
    good, broken, prompts = [], [], []
    for conversation in care.conversations(6, split="train", seed=0):
        for turn, alternatives in conversation.alternatives.items():
            prompts.append(conversation.dialogue[:turn])
            good.append(conversation.dialogue.messages[turn].content)
            broken.append(alternatives[0].message.content)
    better, worse = rules.score(prompts, good), rules.score(prompts, broken)
    assert better == [1.0] * len(prompts)
    assert all(0 <= w < 1 for w in worse)


def test_a_reward_model_keeps_the_protocol(tokenizer: Any) -> None:
    model = from_causal(Policy(make_llama(tokenizer), tokenizer), Facts("attributes", ("a", "b")))
    model.weights = {"a": 1.0, "b": -2.0}
    prompts = [Dialogue.of([{"role": "user", "content": f"Question {k % 2}"}]) for k in range(4)]
    learned: Reward = LearnedReward(model, max_tokens=64)
    found = learned.score(prompts, ["Yes.", "No.", "Perhaps.", "Yes."])
    values = model.score(list(zip(prompts, ["Yes.", "No.", "Perhaps.", "Yes."], strict=True)))
    assert torch.allclose(torch.tensor(found), values[:, 0] - 2 * values[:, 1], atol=1e-5)
    with pytest.raises(HalignError, match="prefers"):
        LearnedReward(from_causal(Policy(make_llama(tokenizer), tokenizer), Facts("pairwise"))).score(
            prompts, ["a"] * 4
        )
