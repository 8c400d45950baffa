"""LoRA: switched off it is the base, merged it is itself, and only it is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

import halign as hl
from halign.adapters import add_lora, check_adapters, has_adapters
from halign.config import TrainSettings
from halign.errors import HalignError
from halign.models import Policy, load
from halign.readers import read
from halign.training import train
from tests.conftest import TEXTS, conversation_rows, make_llama
from tests.test_training import SETTINGS, trainer_for

TALK = [([{"role": "user", "content": t}], r) for t, r in zip(TEXTS[:3], TEXTS[3:], strict=True)]
TALK += [(TALK[0][0], "No")]


def adapted(tokenizer: Any, **settings: Any) -> Policy:
    """A policy with adapters that do something."""
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    policy.model = add_lora(policy.model, TrainSettings(**({"lora_rank": 3} | settings)))
    generator = torch.Generator().manual_seed(4)
    for name, parameter in policy.model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return policy


def test_fresh_adapters_change_nothing_and_alone_are_trained(tokenizer: Any) -> None:
    base = Policy(make_llama(tokenizer), tokenizer)
    before = hl.logps(base, TALK)
    model = add_lora(make_llama(tokenizer), TrainSettings(lora_rank=3))
    assert torch.equal(hl.logps(Policy(model, tokenizer), TALK), before)
    assert has_adapters(model)
    assert not has_adapters(base.model)
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n for n in trained)
    assert not any("lm_head" in n for n in trained)
    config = model.peft_config["default"]  # type: ignore[index, union-attr]
    assert (config.r, config.lora_alpha) == (3, 6)


@pytest.mark.parametrize("targets", [None, ("q_proj", "lm_head")])
def test_merged_weights_give_the_adapters_numbers(tokenizer: Any, targets: Any) -> None:
    policy = adapted(tokenizer, lora_targets=targets)
    found = hl.logps(policy, TALK)
    with policy.model.disable_adapter():  # type: ignore[operator]
        off = hl.logps(policy, TALK)
    assert torch.allclose(off, hl.logps(Policy(make_llama(tokenizer), tokenizer), TALK), atol=1e-4)
    assert (found - off).abs().min() > 0.1
    merged = copy.deepcopy(policy.model).merge_and_unload()  # type: ignore[operator]
    assert torch.allclose(hl.logps(Policy(merged, tokenizer), TALK), found, atol=2e-3)
    assert torch.allclose(hl.logps(policy, TALK, separate=True), found, atol=2e-3)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("targets", [None, ["lm_head", "q_proj"]])
def test_the_adapters_off_reference_is_the_base_also_after_training(
    tied: bool, targets: Any, tokenizer: Any, tmp_path: Path
) -> None:
    base = Policy(make_llama(tokenizer, tie_word_embeddings=tied), tokenizer)
    if tied and targets:
        pytest.skip("peft would untie the head")
    trainer = trainer_for(
        Policy(make_llama(tokenizer, tie_word_embeddings=tied), tokenizer),
        "dpo",
        tmp_path,
        lora_rank=2,
        lora_targets=targets,
        learning_rate=0.05,
    )
    for index in range(2):
        trainer._step(trainer.plan.step(index))
    (pack,) = trainer.plan.step(0).packs[0][:1]
    batch = trainer.batch(trainer.plan, pack)
    reference = trainer.reference[id(trainer.plan)](trainer.plan, pack, batch)
    plain = trainer_for(base, "sft", tmp_path)
    with torch.no_grad():
        expected = plain.scorer(batch).token_logps
        now = trainer.scorer(batch).token_logps
    assert torch.allclose(reference, expected, atol=1e-4)
    assert (now - reference).abs().max() > 0.05
    assert not reference.requires_grad


def test_a_saved_adapter_is_loaded_on_its_base(tokenizer: Any, tmp_path: Path) -> None:
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    settings = SETTINGS | {"lora_rank": 2, "learning_rate": 0.05, "quiet": True}
    run = train(load(start), read(conversation_rows(3)), "dpo", output=tmp_path / "run", **settings)
    loaded = load(tmp_path / "run")
    assert torch.allclose(hl.logps(loaded, TALK), hl.logps(run.policy, TALK), atol=1e-5)
    assert not torch.allclose(hl.logps(loaded, TALK), hl.logps(load(start), TALK), atol=0.05)
    assert not (run.path / "model" / "model.safetensors").exists()


def test_targets_that_the_model_does_not_have(tokenizer: Any) -> None:
    with pytest.raises(HalignError, match=r"lora_targets: .*no_such"):
        add_lora(make_llama(tokenizer), TrainSettings(lora_rank=2, lora_targets=("no_such",)))


def test_adapters_of_another_rank_are_not_taken_for_what_was_asked(tokenizer: Any) -> None:
    policy = adapted(tokenizer)
    check_adapters(policy.model, TrainSettings(lora_rank=3))
    with pytest.raises(
        HalignError, match="lora_rank=8 would have no effect: the model has adapters of rank 3"
    ):
        check_adapters(policy.model, TrainSettings(lora_rank=8))
