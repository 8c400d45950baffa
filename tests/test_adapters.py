"""Adapters of low rank: switched off they are the base, merged they are themselves, and only they are trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import halign as hl
from halign.adapters.build import add_adapters, check_adapters, has_adapters, kind_of
from halign.errors import HalignError
from halign.likelihood import path_logps
from halign.models import Policy, load
from halign.readers import read
from halign.scoring import in_use, unwrap
from halign.train_settings import TrainSettings
from halign.training import train
from tests.conftest import TEXTS, conversation_rows, make_llama
from tests.test_adapters_virtual import drawn, plain
from tests.test_training import SETTINGS, trainer_for

TALK = [([{"role": "user", "content": t}], r) for t, r in zip(TEXTS[:3], TEXTS[3:], strict=True)]
TALK += [(TALK[0][0], "No")]


def adapted(tokenizer: Any, **settings: Any) -> Policy:
    """A policy with adapters that do something."""
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")
    policy.model = add_adapters(policy.model, TrainSettings(**({"lora_rank": 3} | settings)))
    generator = torch.Generator().manual_seed(4)
    for name, parameter in policy.model.named_parameters():
        if any(part in name for part in ("lora_B", "lora_E", "embedding_A", "modules_to_save")):
            parameter.data += (2.0 if "lora_E" in name else 0.1) * torch.randn(
                parameter.shape, generator=generator
            )
    return policy


@pytest.mark.parametrize("way", [{"adapter": "rslora"}, {"adapter": "dora"}, {"adapter": "adalora"}, {}])
@pytest.mark.parametrize(
    "more", [{}, {"lora_targets": ("embed_tokens", "q_proj", "lm_head")}, {"modules_to_save": ("lm_head",)}]
)
def test_every_kind_scores_as_its_own_forward_does(way: Any, more: Any, tokenizer: Any) -> None:
    if way.get("adapter") == "adalora" and "lora_targets" in more:
        more = {"lora_targets": ("q_proj", "lm_head")}  # it knows no embeddings
    policy = adapted(tokenizer, **way, **more)
    assert kind_of(policy.model) == way.get("adapter", "lora")
    paths = drawn()
    found, apart = path_logps(policy, paths), path_logps(policy, paths, separate=True)
    base = make_llama(tokenizer).eval()
    for path, together, alone in zip(paths, found, apart, strict=True):
        expected = plain(policy.model.eval(), path)
        assert torch.allclose(together, expected, atol=2e-4)
        assert torch.allclose(alone, expected, atol=2e-4)
        with policy.model.disable_adapter():  # type: ignore[operator]
            assert torch.equal(plain(policy.model, path), plain(base, path))
        assert (expected - plain(base, path)).abs().max() > 0.05


@pytest.mark.parametrize(
    "way", [{"adapter": "dora"}, {"adapter": "adalora", "lora_rank": 3}, {"modules_to_save": ["lm_head"]}]
)
def test_gradients_are_those_of_pefts_forward(
    way: Any, tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    policy = adapted(tokenizer, **way)
    trainer = trainer_for(policy, "sft", tmp_path, **{"lora_rank": 3} | way)
    for optimizer in trainer.stepper.optimizers:
        monkeypatch.setattr(optimizer, "step", lambda: None)
        monkeypatch.setattr(optimizer, "zero_grad", lambda set_to_none=True: None)
    trainer.stepper.clip = None
    model: Any = policy.model
    trainer._step(trainer.plan.step(0))
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    paths = [trainer.plan.items[i].paths[0] for i in trainer.plan.step(0).items]
    tokens = sum(len(p.response) for p in paths)
    for number, path in enumerate(paths):
        ids = torch.as_tensor(path.ids).long()[None]
        labels = ids.clone()
        labels[:, : len(path.prompt)] = -100
        # with AdaLoRA, peft's forward adds the regulariser to every loss: once is what we compare with
        out = (
            model(input_ids=ids, labels=labels)
            if number == 0
            else model.get_base_model()(input_ids=ids, labels=labels)
        )
        share = len(path.response) / tokens
        penalty = out.loss - model.get_base_model()(input_ids=ids, labels=labels).loss if number == 0 else 0.0
        (share * (out.loss - penalty) + penalty).backward()
    for name, gradient in found.items():
        expected = dict(model.named_parameters())[name].grad
        assert torch.allclose(
            gradient, expected, rtol=1e-3, atol=2e-4 * float(expected.abs().max()) + 1e-7
        ), name


def test_modules_that_the_model_does_not_have(tokenizer: Any) -> None:
    with pytest.raises(
        HalignError, match=r"modules_to_save: the model has no module 'wte'; it has embed_tokens, q_proj"
    ):
        add_adapters(make_llama(tokenizer), TrainSettings(lora_rank=2, modules_to_save=("wte",)))


def test_a_head_trained_in_full_takes_the_fused_path(tokenizer: Any) -> None:
    model: Any = add_adapters(make_llama(tokenizer), TrainSettings(lora_rank=2, modules_to_save=("lm_head",)))
    head = unwrap(model).get_output_embeddings()
    assert type(in_use(head)) is nn.Linear
    assert in_use(head) is not head.original_module
    with model.disable_adapter():
        assert in_use(head) is head.original_module
    assert in_use(model) is model


def test_fresh_adapters_change_nothing_and_alone_are_trained(tokenizer: Any) -> None:
    base = Policy(make_llama(tokenizer), tokenizer)
    before = hl.logps(base, TALK)
    model = add_adapters(make_llama(tokenizer), TrainSettings(lora_rank=3))
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
        add_adapters(make_llama(tokenizer), TrainSettings(lora_rank=2, lora_targets=("no_such",)))


def test_adapters_of_another_rank_are_not_taken_for_what_was_asked(tokenizer: Any) -> None:
    policy = adapted(tokenizer)
    check_adapters(policy.model, TrainSettings(lora_rank=3))
    with pytest.raises(
        HalignError, match="lora_rank=8 would have no effect: the model has adapters of rank 3"
    ):
        check_adapters(policy.model, TrainSettings(lora_rank=8))
    with pytest.raises(
        HalignError, match="adapter=dora would have no effect: the model has adapters of rank 3"
    ):
        check_adapters(policy.model, TrainSettings(lora_rank=3, adapter="dora"))
    with pytest.raises(HalignError, match=r"modules_to_save=.* would have no effect"):
        check_adapters(policy.model, TrainSettings(lora_rank=3, modules_to_save=("lm_head",)))
    dora = adapted(tokenizer, adapter="dora")
    with pytest.raises(HalignError, match=r"adapters of kind dora.*say adapter=dora"):
        check_adapters(dora.model, TrainSettings(lora_rank=3))


@pytest.mark.parametrize("names", [["embed_tokens"], ["lm_head"]])
def test_the_same_settings_go_on_with_what_they_made(
    names: list[str], tokenizer: Any, tmp_path: Path
) -> None:
    """Also where one tied matrix is trained under either of its names."""
    start = tmp_path / "start"
    Policy(make_llama(tokenizer, tie_word_embeddings=True), tokenizer).save(start)
    settings = SETTINGS | {"lora_rank": 2, "modules_to_save": names, "quiet": True, "learning_rate": 0.05}
    first = train(load(start), read(conversation_rows(2)), "dpo", output=tmp_path / "1", **settings)
    second = train(load(first.path), read(conversation_rows(2)), "dpo", output=tmp_path / "2", **settings)
    assert second.metrics[0]["chosen_logratio"] == pytest.approx(0, abs=1e-4)
    assert torch.allclose(hl.logps(load(second.path), TALK), hl.logps(second.policy, TALK), atol=1e-5)
    assert not torch.allclose(hl.logps(load(first.path), TALK), hl.logps(second.policy, TALK), atol=0.01)


def test_dora_on_a_weight_with_a_row_of_zeros_is_refused(tokenizer: Any) -> None:
    model = make_llama(tokenizer)
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight[3] = 0.0
    with pytest.raises(HalignError, match=r"1 rows of .*layers.0.self_attn.q_proj are zero.*lora_targets"):
        add_adapters(model, TrainSettings(lora_rank=2, adapter="dora"))
    add_adapters(make_llama(tokenizer), TrainSettings(lora_rank=2, adapter="dora"))
