"""The reference is the model that training started from, whatever is trained: against plain passes of an untouched copy."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from halign.models import Policy
from halign.probe import separate_token_logps
from halign.readers import read
from halign.training import Trainer, train
from tests.conftest import conversation_rows, make_llama
from tests.test_training import SETTINGS, trainer_for

WAYS: dict[str, dict[str, Any]] = {
    "lora": {"lora_rank": 2},
    "rslora": {"lora_rank": 2, "adapter": "rslora"},
    "dora": {"lora_rank": 2, "adapter": "dora"},
    "adalora": {"lora_rank": 3, "adapter": "adalora", "epochs": 4},
    "embeddings": {"lora_rank": 2, "modules_to_save": ["embed_tokens"]},
    "head": {"lora_rank": 2, "modules_to_save": ["lm_head"]},
    "both": {"lora_rank": 2, "modules_to_save": ["embed_tokens", "lm_head"]},
    "lora on embeddings": {"lora_rank": 2, "lora_targets": ["embed_tokens", "q_proj"]},
    "dora on embeddings": {"lora_rank": 2, "adapter": "dora", "lora_targets": ["embed_tokens", "q_proj"]},
    "lora on head": {"lora_rank": 2, "lora_targets": ["lm_head", "q_proj"]},
    "dropout": {"lora_rank": 2, "lora_dropout": 0.3},
    "norms": {"lora_rank": 2, "modules_to_save": ["input_layernorm"]},
    "prompt": {"adapter": "prompt", "virtual_tokens": 3},
    "prefix": {"adapter": "prefix", "virtual_tokens": 3},
}


def check_reference(trainer: Trainer, start: Any, steps: int = 2) -> None:
    """After some steps, the reference's numbers are still those of the start, and the policy's are not."""
    for index in range(steps):
        trainer._step(trainer.plan.step(index))
    (pack,) = trainer.plan.step(0).packs[0][:1]
    batch = trainer.batch(trainer.plan, pack)
    reference = trainer.reference[id(trainer.plan)](trainer.plan, pack, batch)
    paths = [path for row in trainer.plan.paths(pack) for path in row]
    with torch.no_grad():
        start.eval()
        expected = torch.cat([separate_token_logps(start, path) for path in paths])
        now = trainer.scorer(batch).token_logps
    assert torch.allclose(reference, expected, atol=2e-4), float((reference - expected).abs().max())
    assert (now - reference).abs().max() > 0.05
    assert not reference.requires_grad
    assert all(module.training for module in trainer.scorer.modules())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_fresh_adapters_off_are_the_base(way: str, tied: bool, tokenizer: Any, tmp_path: Path) -> None:
    policy = Policy(make_llama(tokenizer, tie_word_embeddings=tied), tokenizer)
    trainer = trainer_for(policy, "dpo", tmp_path, **{"learning_rate": 0.05} | WAYS[way])
    live: Any = trainer.reference[id(trainer.plan)]
    assert type(live).__name__ == "LiveReference"  # nothing was computed ahead
    check_reference(trainer, make_llama(tokenizer, tie_word_embeddings=tied))


@pytest.mark.parametrize("source", ["auto", "frozen"])
@pytest.mark.parametrize("way", ["dropout", "both", "adalora", "prompt", "prefix"])
def test_adapters_that_were_trained_before_are_part_of_the_reference(
    way: str, source: str, tokenizer: Any, tmp_path: Path
) -> None:
    policy = Policy(make_llama(tokenizer), tokenizer)
    quick = SETTINGS | {"learning_rate": 0.05, "quiet": True} | WAYS[way]
    train(policy, read(conversation_rows(3)), "sft", output=tmp_path / "before", **quick)
    start = copy.deepcopy(policy.model)
    trainer = trainer_for(policy, "dpo", tmp_path, **{"learning_rate": 0.05, "reference": source} | WAYS[way])
    check_reference(trainer, start)


def test_a_frozen_copy_of_everything_trained_serves_without_adapters_too(
    tokenizer: Any, tmp_path: Path
) -> None:
    policy = Policy(make_llama(tokenizer, tie_word_embeddings=True), tokenizer)
    trainer = trainer_for(policy, "dpo", tmp_path, reference="frozen", learning_rate=0.02)
    check_reference(trainer, make_llama(tokenizer, tie_word_embeddings=True))


@pytest.mark.parametrize("tied", [False, True])
def test_single_tokens_that_are_trained_are_switched_off_too(
    tied: bool, tokenizer: Any, tmp_path: Path
) -> None:
    """peft's trainable_token_indices, on a model that somebody else wrapped."""
    base = make_llama(tokenizer, tie_word_embeddings=tied)
    taught = tokenizer(["order", "user"], add_special_tokens=False)["input_ids"]
    config = LoraConfig(
        r=2,
        target_modules=["q_proj"],
        task_type="CAUSAL_LM",
        trainable_token_indices=sorted({i for t in taught for i in t}),
    )
    model: Any = get_peft_model(base, config)
    for source in ("adapter", "auto"):
        policy = Policy(copy.deepcopy(model), tokenizer)
        trainer = trainer_for(policy, "dpo", tmp_path, lora_rank=2, learning_rate=0.1, reference=source)
        check_reference(trainer, make_llama(tokenizer, tie_word_embeddings=tied))


@pytest.mark.parametrize("names", [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]])
def test_a_tied_matrix_trained_in_full_stays_one(names: list[str], tokenizer: Any, tmp_path: Path) -> None:
    policy = Policy(make_llama(tokenizer, tie_word_embeddings=True), tokenizer)
    trainer = trainer_for(policy, "dpo", tmp_path, lora_rank=2, modules_to_save=names, learning_rate=0.05)
    trainer._step(trainer.plan.step(0))
    inner = trainer.policy.model.get_base_model()  # type: ignore[operator]
    assert inner.get_input_embeddings().weight is inner.get_output_embeddings().weight
    trained = [n for n, p in trainer.policy.model.named_parameters() if p.requires_grad and "lora_" not in n]
    assert len(trained) == 1
