"""A bias makes demonstrations score zero on average, is kept, and is forgotten where training goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.models import Policy
from halign.readers import read
from halign.rewards.centring import centred_on
from halign.rewards.facts import Facts
from halign.rewards.loading import load_reward
from halign.rewards.model import RewardModel
from halign.rewards.protocol import LearnedReward
from halign.rewards.starting import from_causal
from halign.training import train
from tests.conftest import conversation_rows, make_llama
from tests.rewards.test_reward_runs import QUIET, pair_rows, ranking_rows
from tests.test_training import moved

PROMPT = Dialogue.of([{"role": "user", "content": "Where is it?"}])
ASKED = [(PROMPT, "Thank you."), (PROMPT, "No.")]


@pytest.fixture
def model(tokenizer: Any) -> RewardModel:
    """A reward model whose rewards are far from zero."""
    made = from_causal(Policy(make_llama(tokenizer), tokenizer, "memory"), Facts())
    made.model.score.weight.data.mul_(50)
    return made


def test_the_mean_over_the_right_responses_becomes_zero(model: RewardModel) -> None:
    """Agent turns of a dialogue without their alternatives; of a pair the chosen one, of a soft one the better."""
    rows = [*conversation_rows(2), *pair_rows(2), {**pair_rows(3)[2], "preference": 0.2}]
    talks, pairs = read(rows[:2]), read(rows[2:])
    shown: list[Any] = []
    for c in talks:
        shown += [(c.dialogue[:i], m) for i, m in enumerate(c.dialogue.messages) if m.role == "assistant"]
    shown += [(p.prompt, p.rejected if p.preference < 0.5 else p.chosen) for p in pairs]
    mean = float(model.score(shown, separate=True).mean())
    assert abs(mean) > 0.1
    centred = centred_on(model, [*talks, *pairs])
    assert centred.facts.bias == pytest.approx(-mean, abs=1e-4)
    assert float(centred.score(shown).mean()) == pytest.approx(0.0, abs=1e-4)
    assert torch.allclose(centred.score(ASKED), model.score(ASKED) - mean, atol=1e-4)
    assert LearnedReward(centred).score([PROMPT], ["No."]) == pytest.approx(
        centred.score(ASKED)[1:].tolist(), abs=1e-4
    )
    # comparisons do not see it, and centring again changes nothing
    compared = [(PROMPT, "Thank you.", "No.")]
    assert torch.allclose(centred.prefers(compared), model.prefers(compared))
    assert centred_on(centred, [*talks, *pairs]).facts.bias == pytest.approx(centred.facts.bias, abs=1e-4)
    assert model.facts.bias == 0.0


def test_it_is_kept_with_the_model(model: RewardModel, tmp_path: Path) -> None:
    centred = centred_on(model, read(pair_rows(2)))
    centred.save(tmp_path)
    assert json.loads((tmp_path / "halign_reward.json").read_text())["bias"] == centred.facts.bias
    again = load_reward(tmp_path)
    assert torch.allclose(again.score(ASKED), centred.score(ASKED), atol=1e-5)
    # folders written before there was a bias
    (tmp_path / "halign_reward.json").write_text('{"kind": "reward", "attributes": [], "levels": 0}')
    assert torch.allclose(load_reward(tmp_path).score(ASKED), model.score(ASKED), atol=1e-5)


def test_training_on_forgets_it(tokenizer: Any, tmp_path: Path) -> None:
    train(moved(tokenizer), read(ranking_rows(4)), "reward", output=tmp_path / "a", **QUIET)
    centred = centred_on(load_reward(tmp_path / "a"), read(ranking_rows(4)))
    run = train(centred, read(ranking_rows(4)), "reward", output=tmp_path / "b", **QUIET)
    assert run.policy.facts.bias == 0.0
    assert load_reward(tmp_path / "b").facts == Facts()


def test_what_has_no_zero_is_refused(tokenizer: Any, model: RewardModel) -> None:
    other = from_causal(Policy(make_llama(tokenizer), tokenizer, "memory"), Facts("attributes", ("a", "b")))
    with pytest.raises(HalignError, match="has the outputs a, b; only a model with one reward"):
        centred_on(other, read(pair_rows(1)))
    with pytest.raises(HalignError, match="the data has no demonstrations"):
        centred_on(model, [])
