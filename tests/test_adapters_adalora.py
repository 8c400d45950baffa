"""AdaLoRA in our loop: ranks go where they matter, the regulariser is peft's, and a stopped run loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import halign as hl
from halign.errors import HalignError
from halign.models import Policy, load
from halign.readers import read
from halign.training import train
from tests.conftest import conversation_rows, make_llama, power_cut
from tests.test_training import SETTINGS, trainer_for

TALK = [([{"role": "user", "content": "Hello"}], "My order"), ([{"role": "user", "content": "No"}], "Yes")]
ADALORA = SETTINGS | {
    "adapter": "adalora",
    "lora_rank": 6,
    "adalora_target_rank": 2,
    "epochs": 10,
    "batch_items": 12,
    "learning_rate": 0.05,
}
QUIET = ADALORA | {"quiet": True}


def ranks(model: Any) -> list[int]:
    return [int((p != 0).sum()) for n, p in model.named_parameters() if "lora_E" in n]


def test_ranks_fall_to_their_target_and_differ(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(Policy(make_llama(tokenizer), tokenizer), "dpo", tmp_path, **ADALORA)
    config = trainer.policy.model.active_peft_config  # type: ignore[union-attr]
    assert (config.total_step, config.tinit, config.tfinal) == (10, 1, 3)
    means = []
    for index in range(trainer.plan.steps):
        row = trainer._step(trainer.plan.step(index))
        found = ranks(trainer.policy.model)
        means.append(sum(found) / len(found))
    assert means[0] == 6
    assert sorted(means, reverse=True) == means
    assert means[-1] == means[6] == pytest.approx(2, abs=0.01)
    assert len(set(found)) > 1
    assert row["orthogonality"] > 0


def test_the_penalty_is_what_peft_adds_to_a_loss(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(Policy(make_llama(tokenizer), tokenizer), "dpo", tmp_path, **ADALORA)
    trainer._step(trainer.plan.step(0))
    model: Any = trainer.policy.model.eval()
    ids = torch.arange(3, 20)[None]
    with_penalty = model(input_ids=ids, labels=ids).loss
    without = model.get_base_model()(input_ids=ids, labels=ids).loss
    penalty = trainer.stepper.layers.penalty()  # type: ignore[union-attr]
    assert float((with_penalty - without).detach()) == pytest.approx(float(penalty.detach()), rel=1e-5)


def test_a_result_loads_with_the_ranks_it_has(tokenizer: Any, tmp_path: Path) -> None:
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    run = train(load(start), read(conversation_rows(3)), "dpo", output=tmp_path / "run", **QUIET)
    loaded = load(run.path)
    assert torch.allclose(hl.logps(loaded, TALK), hl.logps(run.policy, TALK), atol=1e-5)
    assert sum(ranks(loaded.model)) == sum(ranks(run.policy.model))
    assert not torch.allclose(hl.logps(loaded, TALK), hl.logps(load(start), TALK), atol=0.05)
    more = {k: v for k, v in QUIET.items() if k != "adalora_target_rank"}
    again = train(loaded, read(conversation_rows(3)), "dpo", output=tmp_path / "again", **more)
    assert again.metrics[0]["chosen_logratio"] == pytest.approx(0, abs=1e-4)
    assert sum(ranks(again.policy.model)) == sum(ranks(run.policy.model))  # ranks stay as they were left
    assert torch.allclose(hl.logps(load(again.path), TALK), hl.logps(again.policy, TALK), atol=1e-5)
    with pytest.raises(HalignError, match="adalora_target_rank=2 would have no effect"):
        train(loaded, read(conversation_rows(3)), "dpo", output=tmp_path / "third", **QUIET)


@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_run_that_died_resumes_to_the_same_bits(at: int, tokenizer: Any, tmp_path: Path) -> None:
    """Before, while and after ranks are moved; a checkpoint's adapter file lacks the ranks switched off, its state does not."""
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    settings = QUIET | {"save_every": 1, "modules_to_save": ["lm_head"]}
    examples = read(conversation_rows(3))
    whole = train(load(start), examples, "dpo", output=tmp_path / "whole", **settings)
    with power_cut(at):
        train(load(start), examples, "dpo", output=tmp_path / "cut", **settings)
    resumed = train(load(start), examples, "dpo", output=tmp_path / "cut", **settings)
    assert [r["loss"] for r in resumed.metrics] == [r["loss"] for r in whole.metrics]
    a, b = (load_file(tmp_path / n / "model" / "adapter_model.safetensors") for n in ("whole", "cut"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_second_run_that_died_resumes_and_loads(tokenizer: Any, tmp_path: Path) -> None:
    """Its ranks are those that the first run left; forgetting them would make a folder that nobody can load."""
    start, examples = tmp_path / "start", read(conversation_rows(3))
    Policy(make_llama(tokenizer), tokenizer).save(start)
    first = train(load(start), examples, "dpo", output=tmp_path / "first", **QUIET)
    more = {k: v for k, v in QUIET.items() if k != "adalora_target_rank"} | {"save_every": 2}
    with power_cut(3):
        train(load(first.path), examples, "dpo", output=tmp_path / "second", **more)
    resumed = train(load(first.path), examples, "dpo", output=tmp_path / "second", **more)
    assert torch.allclose(hl.logps(load(resumed.path), TALK), hl.logps(resumed.policy, TALK), atol=1e-5)


def test_three_steps_are_enough_and_fewer_are_said_not_to_be(tokenizer: Any, tmp_path: Path) -> None:
    settings = ADALORA | {"adalora_target_rank": None}
    trainer = trainer_for(
        Policy(make_llama(tokenizer), tokenizer), "sft", tmp_path, **settings | {"max_steps": 3}
    )
    for index in range(3):
        trainer._step(trainer.plan.step(index))
    found = ranks(trainer.policy.model)
    assert sum(found) / len(found) == pytest.approx(4, abs=0.1)
    with pytest.raises(HalignError, match="2 steps are too few"):
        trainer_for(Policy(make_llama(tokenizer), tokenizer), "sft", tmp_path, **settings | {"max_steps": 2})
