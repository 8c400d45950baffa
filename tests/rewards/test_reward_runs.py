"""Whole runs of reward models: they learn, resume, go on, take adapters, and say how good they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from halign.adapters.build import has_adapters
from halign.adapters.merging import merge
from halign.errors import HalignError
from halign.models import Policy, load
from halign.preflight_model import check_model
from halign.readers import read
from halign.reporting import report
from halign.rewards.card import Compared, report_card
from halign.rewards.loading import load_reward
from halign.rewards.model import RewardModel
from halign.training import Interrupted, train
from tests.conftest import conversation_rows, make_llama
from tests.test_training import SETTINGS, assert_same, moved, step_gradients, trainer_for

QUIET = SETTINGS | {"quiet": True}
FILLERS = ("My order", "Hello there", "Could you", "the number", "tomorrow", "address", "delivery")


def ranking_rows(count: int, width: int = 4, seed: int = 0) -> list[dict[str, Any]]:
    """Rankings by how often a response says "thank you", whatever its length."""
    rng = torch.Generator().manual_seed(seed)

    def draw(n: int) -> int:
        return int(torch.randint(0, n, (1,), generator=rng))

    rows = []
    for number in range(count):
        responses = []
        for k in torch.randperm(5, generator=rng)[:width].tolist():
            words = ["Thank you"] * k + [FILLERS[draw(len(FILLERS))] for _ in range(1 + draw(6))]
            order = torch.randperm(len(words), generator=rng).tolist()
            said = ", ".join(words[i] for i in order)
            responses.append({"content": said, "score": k, "attributes": {"thanks": k, "length": len(words)}})
        asked = [{"role": "user", "content": f"Where is parcel {number} {FILLERS[draw(7)]}?"}]
        rows.append({"id": f"r{number}", "prompt": asked, "responses": responses})
    return rows


def pair_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """The same as pairs."""
    rows = []
    for row in ranking_rows(count, 2, seed):
        best, worst = sorted(row["responses"], key=lambda r: -r["score"])
        chosen, rejected = ([{"role": "assistant", "content": r["content"]}] for r in (best, worst))
        rows.append({"id": row["id"], "prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
    return rows


LEARNING: dict[str, Any] = {"learning_rate": 5e-3, "epochs": 4, "batch_items": 16, "max_tokens": 4096}


@pytest.mark.parametrize(
    ("name", "rows", "least"),
    [("reward", ranking_rows, 0.85), ("reward", pair_rows, 0.8), ("plackett_luce", ranking_rows, 0.85)],
)
def test_it_learns(name: str, rows: Any, least: float, tokenizer: Any, tmp_path: Path) -> None:
    """What is seen in training is not what is asked of it, and it starts at chance."""
    run = train(
        moved(tokenizer),
        read(rows(120)),
        name,
        output=tmp_path / "run",
        evaluation=read(rows(60, seed=1)),
        **QUIET | LEARNING | {"accept": ["overlap"]},
    )
    first, last = (r for r in run.metrics if r["split"] == "eval")
    assert first["loss"] == pytest.approx(
        0.6931 if name == "reward" else 3.178, abs=0.2
    )  # ln 2; ln 4! for whole orders
    assert last["accuracy"] > least
    assert least - 0.2 < last["accuracy_low"] < last["accuracy"] <= last["accuracy_high"] <= 1
    assert last["longer_accuracy"] < last["accuracy"]
    assert 0 <= last["calibration_error"] < 0.5
    card = json.loads((run.path / "reward.json").read_text())
    assert (
        sum(r["n"] for r in card["reliability"])
        == card["accuracy"]["n"]
        == (360 if rows is ranking_rows else 60)
    )
    page = report([run]).html
    assert "Expected calibration error" in page
    assert isinstance(run.policy, RewardModel)
    # the folder alone gives the accuracy that the run reported
    reward = load_reward(run.path)
    right = []
    for example in read(pair_rows(60, seed=1)):
        better, worse = reward.score([(example.prompt, example.chosen), (example.prompt, example.rejected)])
        right.append(float(better > worse))
    assert sum(right) / len(right) > least - 0.1


def test_k_wise_gradient_by_hand(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against plain sequence-classification passes, one a response, and the formula written out."""
    rows = ranking_rows(3)
    trainer = trainer_for(moved(tokenizer), "reward", tmp_path, rows, batch_items=3, centring=0.1)
    state = trainer.policy.model.state_dict()
    config = trainer.policy.model.config
    twin = transformers.LlamaForSequenceClassification(config)
    twin.load_state_dict(state)
    losses = []
    for item in trainer.plan.items:
        values = [twin(torch.as_tensor(p.ids).long()[None]).logits[0, 0] for p in item.paths]
        pairs = [(values[i], values[j]) for i in range(4) for j in range(i + 1, 4)]
        losses.append(sum(-torch.log(torch.sigmoid(w - x)) + 0.1 * (w + x) ** 2 for w, x in pairs) / 6)
    torch.stack(losses).mean().backward()
    gradients, row = step_gradients(trainer, monkeypatch)
    assert row["loss"] == pytest.approx(float(torch.stack(losses).mean().detach()), rel=1e-4)
    assert_same(gradients, {n: p.grad for n, p in twin.named_parameters()})
    assert row["sharing"] > 1.5  # the prompt once for four responses


def test_soft_pairs_stay_soft(tokenizer: Any, tmp_path: Path) -> None:
    rows = [{**row, "preference": p} for row, p in zip(pair_rows(3), (0.7, 0.5, 0.0), strict=True)]
    trainer = trainer_for(moved(tokenizer), "reward", tmp_path, rows)
    assert [i.values["preference"] for i in trainer.plan.items] == [0.7, 0.5, 0.0]
    pack = trainer.plan.pack(range(3))[0]
    seen = trainer.losses.comparisons(
        next(trainer.stepper.scored(trainer.plan, [pack], [trainer.batch(trainer.plan, pack)]))
    )
    lengths = [[len(p.response) for p in i.paths] for i in trainer.plan.items]
    assert sorted((c.length, c.other_length) for c in seen) == sorted(
        [tuple(lengths[0]), tuple(lengths[2][::-1])]
    )


def test_the_preflight_compares_with_the_models_own_forward(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(moved(tokenizer), "reward", tmp_path, ranking_rows(3))
    found = {f.name: f for f in check_model(trainer)}
    assert {f.level for f in found.values()} == {"info"}
    assert "our values and the model's own agree" in found["trie_differs"].text
    assert "not_reference" not in found
    # a pad token that ends responses: transformers would read the token before
    trainer.policy.model.config.pad_token_id = trainer.policy.tokenizer.eos_token_id
    found = {f.name: f for f in check_model(trainer)}
    assert found["trie_differs"].level == "error"


def test_a_stopped_run_goes_on_to_the_same_weights(tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    rows = read(ranking_rows(8))
    settings = QUIET | {"batch_items": 2, "max_steps": 4, "save_every": 2}
    whole = train(moved(tokenizer), rows, "reward", output=tmp_path / "whole", **settings)
    import halign.training as training

    real = training.Trainer._look_after

    def stop(self: Any, done: int, *rest: Any) -> None:
        real(self, done, *rest)
        if done == 2:
            raise Interrupted("now")

    monkeypatch.setattr(training.Trainer, "_look_after", stop)
    with pytest.raises(Interrupted):
        train(moved(tokenizer), rows, "reward", output=tmp_path / "cut", **settings)
    monkeypatch.setattr(training.Trainer, "_look_after", real)
    cut = train(moved(tokenizer), rows, "reward", output=tmp_path / "cut", **settings)
    for a, b in zip(whole.policy.model.parameters(), cut.policy.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_reward_model_goes_on_and_keeps_its_head(tokenizer: Any, tmp_path: Path) -> None:
    rows = read(ranking_rows(6))
    train(moved(tokenizer), rows, "reward", output=tmp_path / "a", **QUIET)
    head = load_reward(tmp_path / "a").model.score.weight
    again = train(
        tmp_path / "a", rows, "plackett_luce", output=tmp_path / "b", **QUIET | {"learning_rate": 1e-6}
    )
    assert torch.allclose(again.policy.model.score.weight, head, atol=1e-4)
    with pytest.raises(HalignError, match=r"dpo trains a language model, and .* is a reward model"):
        train(tmp_path / "a", read(conversation_rows(2)), "dpo", output=tmp_path / "c", **QUIET)
    with pytest.raises(
        HalignError, match="has the outputs reward, and attributes on this data needs length, thanks"
    ):
        train(tmp_path / "a", rows, "attributes", output=tmp_path / "c", **QUIET)


def test_lora_on_the_trunk_and_the_head_in_full(policy_folder: Path, tmp_path: Path) -> None:
    rows = read(ranking_rows(12))
    run = train(
        load(policy_folder),
        rows,
        "reward",
        output=tmp_path / "run",
        **QUIET | {"lora_rank": 2, "epochs": 4},
    )
    assert run.last["loss"] < 0.69
    trained = {n for n, p in run.policy.model.named_parameters() if p.requires_grad}
    assert {n.split(".")[-2] for n in trained} >= {"default"}
    assert all("lora" in n or ".score." in n for n in trained)
    asked = [(e.prompt, r) for e in rows[:3] for r in e.responses]
    ours = run.policy.score(asked)
    again = load_reward(run.path)
    assert torch.allclose(again.score(asked), ours, atol=1e-5)
    assert float(ours.std()) > 1e-3
    assert "not_reference" not in (run.path / "preflight.txt").read_text()
    merge(run.path, tmp_path / "merged")
    plain = load_reward(tmp_path / "merged")
    assert not has_adapters(plain.model)
    assert torch.allclose(plain.score(asked), ours, atol=1e-4)
    onward = train(
        run.path, rows, "reward", output=tmp_path / "on", **QUIET | {"lora_rank": 2, "max_steps": 1}
    )
    assert onward.metrics[0]["loss"] < 0.69


def test_what_does_not_go_with_a_reward_model(tokenizer: Any, tmp_path: Path) -> None:
    for objective, settings, says in (
        ("reward+sft", {}, "sft cannot share a mixture"),
        ("reward+attributes", {}, "attributes cannot share a mixture"),
        ("reward", {"reference": "frozen"}, "reference would have no effect"),
        ("reward", {"curvature": 0.5}, "curvature would have no effect"),
        ("pairwise", {"stop_below": 1.0}, "stop_below would have no effect"),
        ("reward", {"adapter": "prompt"}, "does not go with reward models"),
        ("reward", {"score_margin": 1.0}, "reward needs rewards"),
    ):
        with pytest.raises(HalignError, match=says):
            train(moved(tokenizer), read(pair_rows(3)), objective, output=tmp_path / "x", **QUIET | settings)


def test_orders_and_likelihoods_share_a_forward(tokenizer: Any, tmp_path: Path) -> None:
    run = train(
        moved(tokenizer), read(ranking_rows(4)), "reward+0.5*plackett_luce", output=tmp_path / "r", **QUIET
    )
    assert {"loss_reward", "loss_plackett_luce"} <= run.last.keys()


def test_the_report_card_by_hand() -> None:
    seen = [
        Compared(2.0, 10, 5, "a"),
        Compared(-1.0, 10, 10, "a"),
        Compared(0.0, 4, 9, "b"),
        Compared(0.01, 10, 11, "c"),
    ]
    card = report_card(seen)
    assert card["accuracy"]["value"] == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert card["accuracy"]["clusters"] == 3
    assert card["longer_accuracy"]["value"] == pytest.approx((1 + 0.5 + 0 + 0) / 4)
    assert card["matched_accuracy"]["value"] == 0.5  # the second and the last
    sure = [torch.sigmoid(torch.tensor(m)).item() for m in (2.0, 1.0)]
    low = (0.5 + torch.sigmoid(torch.tensor(0.01)).item()) / 2
    expected = (abs(sure[0] - 1) + abs(sure[1] - 0) + 2 * abs(low - 0.75)) / 4
    assert card["calibration_error"] == pytest.approx(expected)
    assert [r["n"] for r in card["reliability"]] == [2, 1, 1]


def test_a_single_conversation_has_no_interval() -> None:
    card = report_card([Compared(1.0, 3, 9, "a"), Compared(2.0, 3, 9, "a")])
    assert card["accuracy"]["low"] is None
    assert card["matched_accuracy"] is None


def test_a_policy_from_elsewhere_is_left_with_its_own_tokenizer(tokenizer: Any, tmp_path: Path) -> None:
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    run = train(policy, read(ranking_rows(2)), "reward", output=tmp_path / "r", **QUIET)
    assert run.policy is not policy
    assert run.policy.tokenizer is not tokenizer
