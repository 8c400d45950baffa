"""Attribute models and pairwise models: what they learn, and what may be asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from halign.errors import HalignError
from halign.models import Policy
from halign.readers import read
from halign.rewards.facts import Facts
from halign.rewards.loading import load_reward
from halign.rewards.model import RewardModel
from halign.rewards.starting import from_causal
from halign.training import train
from tests.conftest import make_llama
from tests.rewards.test_reward_runs import LEARNING, QUIET, pair_rows, ranking_rows
from tests.test_training import moved, trainer_for


def shaken(tokenizer: Any, facts: Facts) -> RewardModel:
    """A model whose answers differ from one another."""
    reward = from_causal(Policy(make_llama(tokenizer), tokenizer), facts)
    reward.model.eval()
    with torch.no_grad():
        reward.model.score.weight.normal_(generator=torch.Generator().manual_seed(3))
    return reward


def asked() -> list[tuple[Any, Any]]:
    return [(e.prompt, r) for e in read(ranking_rows(3)) for r in e.responses]


def test_attributes_are_learnt(tokenizer: Any, tmp_path: Path) -> None:
    rows = ranking_rows(150)
    for row in rows[::2]:
        del row["responses"][0]["attributes"]["length"]  # masked
    del rows[1]["responses"][0]["attributes"]  # left out
    run = train(
        moved(tokenizer),
        read(rows),
        "attributes",
        output=tmp_path / "run",
        evaluation=read(ranking_rows(40, seed=1)),
        **QUIET | LEARNING | {"accept": ["overlap"], "batch_items": 32, "epochs": 6},
    )
    first, last = (r for r in run.metrics if r["split"] == "eval")
    assert last["mean_absolute_error"] < 0.5 * first["mean_absolute_error"]
    reward = load_reward(run.path, weights={"thanks": 1.0})
    assert reward.facts == Facts("attributes", ("length", "thanks"))
    examples = read(ranking_rows(40, seed=2))
    scores = reward.score([(e.prompt, r) for e in examples for r in e.responses])
    assert scores.shape == (160, 2)
    wanted = torch.tensor([r.extra["attributes"]["thanks"] for e in examples for r in e.responses]).float()
    assert torch.corrcoef(torch.stack([scores[:, 1], wanted]))[0, 1] > 0.8
    assert torch.allclose(reward.rewards(asked()), reward.score(asked())[:, 1])
    assert "dropped: 1 responses without attributes" in (run.path / "preflight.txt").read_text()


def test_categorical_heads_give_distributions(tokenizer: Any, tmp_path: Path) -> None:
    run = train(
        moved(tokenizer),
        read([{**r, "responses": [{**a, "attributes": {"thanks": a["score"]}} for a in r["responses"]]}
              for r in ranking_rows(60)]),
        "attributes",
        head="categorical",
        output=tmp_path / "run",
        **QUIET | LEARNING,
    )  # fmt: skip
    reward = load_reward(run.path)
    logps = reward.attribute_logps(asked())
    assert logps.shape == (12, 1, 5)
    assert torch.allclose(logps.exp().sum(-1), torch.ones(12, 1), atol=1e-6)
    expected = (logps.exp() * torch.arange(5.0)).sum(-1)
    assert torch.allclose(reward.score(asked()), expected, atol=1e-5)
    assert reward.model.config.id2label[4] == "thanks:4"
    assert run.metrics[-1]["loss"] < 1.2 < run.metrics[0]["loss"]


def test_the_columns_of_helpsteer_are_attributes(tokenizer: Any, tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"What is {n}?",
            "response": f"It is {n + 1}.",
            "helpfulness": n % 5,
            "verbosity": 1,
            "weight": 1,
        }
        for n in range(6)
    ]
    trainer = trainer_for(moved(tokenizer), "attributes", tmp_path, rows)
    assert trainer.policy.facts.attributes == ("helpfulness", "verbosity")
    assert trainer.plan.items[3].values["attributes"] == (3.0, 1.0)


def test_data_without_attributes_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(HalignError, match="attributes: no response of the data has any"):
        train(moved(tokenizer), read(pair_rows(2)), "attributes", output=tmp_path / "x", **QUIET)


def test_weights_and_probabilities_that_are_not_there(tokenizer: Any) -> None:
    reward = shaken(tokenizer, Facts("attributes", ("a", "b")))
    assert torch.allclose(reward.rewards(asked()), reward.score(asked()).mean(1), atol=1e-6)
    with pytest.raises(HalignError, match="only an attribute model with head=categorical"):
        reward.attribute_logps(asked())


def comparisons(count: int = 4) -> list[tuple[Any, str, str]]:
    return [(e.prompt, e.chosen.content, e.rejected.content) for e in read(pair_rows(count))]


@pytest.mark.parametrize("facts", [Facts("pairwise"), Facts()])
def test_preferences_are_antisymmetric(facts: Facts, tokenizer: Any) -> None:
    reward = shaken(tokenizer, facts)
    forward = reward.prefers(comparisons())
    backward = reward.prefers([(p, b, a) for p, a, b in comparisons()])
    assert (forward - 0.5).abs().max() > 0.02
    assert torch.allclose(forward + backward, torch.ones(4), atol=1e-6)
    assert float(reward.prefers([(comparisons()[0][0], "Yes.", "Yes.")])) == pytest.approx(0.5)
    if reward.facts.kind != "pairwise":
        with pytest.raises(HalignError, match="only a pairwise model sees"):
            reward.first_wins(comparisons())
        return
    ab = reward.first_wins(comparisons()).logit()
    ba = reward.first_wins([(p, b, a) for p, a, b in comparisons()]).logit()
    assert torch.allclose(forward, torch.sigmoid((ab - ba) / 2), atol=1e-5)


def test_a_pairwise_model_learns(tokenizer: Any, tmp_path: Path) -> None:
    run = train(
        moved(tokenizer),
        read(pair_rows(200)),
        "pairwise",
        output=tmp_path / "run",
        evaluation=read(pair_rows(60, seed=1)),
        **QUIET | LEARNING | {"accept": ["overlap"], "epochs": 8},
    )
    last = run.last
    assert last["accuracy"] > 0.75
    assert last["accuracy_low"] > 0.5
    reward = load_reward(run.path)
    examples = read(pair_rows(60, seed=1))
    found = reward.prefers([(e.prompt, e.chosen.content, e.rejected.content) for e in examples])
    assert float((found > 0.5).float().mean()) == pytest.approx(last["accuracy"], abs=0.02)
    with pytest.raises(HalignError, match=r"prefers\(\[\(prompt, a, b\)\]\)"):
        reward.score(asked())


def test_both_orders_share_the_prompt(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(moved(tokenizer), "pairwise", tmp_path, pair_rows(2))
    item = trainer.plan.items[0]
    assert np_equal(item.paths[0].prompt, item.paths[1].prompt)
    said = trainer.policy.tokenizer.decode(item.paths[1].response.tolist())
    rejected = pair_rows(2)[0]["rejected"][0]["content"]
    assert said.startswith(f"Response 1:\n{rejected}\n\nResponse 2:\n")


def np_equal(a: Any, b: Any) -> bool:
    return bool((a == b).all())
