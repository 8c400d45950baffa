"""Prompt and prefix tuning: our passes and decoding against peft's own, and what it cannot do is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

import halign as hl
from halign.adapters.build import add_adapters
from halign.adapters.virtual import virtual_tokens
from halign.errors import HalignError
from halign.items import Path as TokenPath
from halign.likelihood import path_logps
from halign.models import Policy, load
from halign.readers import read
from halign.sampling.local import Settings, sample_ids
from halign.train_settings import TrainSettings
from halign.training import train
from tests.conftest import conversation_rows, enlarge, make_llama
from tests.test_training import SETTINGS, trainer_for

KINDS = ("prompt", "prefix")


def make(name: str, tokenizer: Any) -> Any:
    if name == "llama":
        return make_llama(tokenizer)
    common: dict[str, Any] = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": 2}
    torch.manual_seed(0)
    if name == "gpt2":
        model: Any = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=256, **common))
    else:
        shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "sliding_window": 5}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        model = MistralForCausalLM(MistralConfig(**shape, **heads, **common))
    enlarge(model)
    return model


def tuned(kind: str, tokenizer: Any, name: str = "llama") -> Policy:
    """A policy with six virtual tokens that have moved from where they began."""
    torch.manual_seed(0)
    model = add_adapters(make(name, tokenizer), TrainSettings(adapter=kind, virtual_tokens=6))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator)
    return Policy(model.eval(), tokenizer, "memory")


def drawn(count: int = 5) -> list[TokenPath]:
    rng = np.random.default_rng(0)
    ids = [rng.integers(3, 300, 20).astype(np.int32) for _ in range(count)]
    return [TokenPath(row[: 4 + k], row[4 + k : 12 + 2 * k]) for k, row in enumerate(ids)]


def plain(model: Any, path: TokenPath) -> torch.Tensor:
    """peft's own forward over one path."""
    ids = torch.as_tensor(path.ids).long()[None]
    with torch.no_grad():
        logps = model(input_ids=ids).logits[0, -ids.shape[1] :].log_softmax(-1)
    return torch.stack([logps[t - 1, ids[0, t]] for t in range(len(path.prompt), ids.shape[1])])


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("kind", KINDS)
def test_our_passes_are_pefts(kind: str, name: str, tokenizer: Any) -> None:
    policy = tuned(kind, tokenizer, name)
    assert not policy.capability.scheme.shares
    assert policy.capability.reason == "6 virtual tokens before each"
    found = path_logps(policy, drawn())
    with policy.model.disable_adapter():  # type: ignore[operator]
        off = path_logps(policy, drawn())
    base = make(name, tokenizer).eval()
    for path, on, without in zip(drawn(), found, off, strict=True):
        assert torch.allclose(on, plain(policy.model, path), atol=1e-4)
        assert torch.allclose(without, plain(base, path), atol=1e-4)
    assert (torch.cat(found) - torch.cat(off)).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("kind", KINDS)
def test_decoding_goes_on_behind_the_virtual_tokens(kind: str, name: str, tokenizer: Any) -> None:
    model: Any = tuned(kind, tokenizer, name).model
    prompts = [path.ids[: 1 + 3 * k] for k, path in enumerate(drawn())]
    rows = sample_ids(model, prompts, (), Settings(temperature=0, max_new_tokens=6))
    for prompt, row in zip(prompts, rows, strict=True):
        ids = torch.as_tensor(prompt).long()[None]
        for token in row.ids:  # the likeliest one by a whole pass of peft's
            with torch.no_grad():
                assert token == int(model(input_ids=ids).logits[0, -1].argmax())
            ids = torch.cat((ids, torch.tensor([[token]])), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_pefts_forward(
    kind: str, tokenizer: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    trainer = trainer_for(
        Policy(make_llama(tokenizer), tokenizer), "sft", tmp_path, adapter=kind, virtual_tokens=4
    )
    model: Any = trainer.policy.model
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n in trained if "prompt_encoder" not in n] == []
    monkeypatch.setattr(trainer.stepper.optimizers[0], "step", lambda: None)
    monkeypatch.setattr(trainer.stepper.optimizers[0], "zero_grad", lambda set_to_none=True: None)
    trainer.stepper.clip = None
    trainer._step(trainer.plan.step(0))
    found = {n: p.grad.clone() for n, p in trained.items()}
    model.zero_grad()
    paths = [trainer.plan.items[i].paths[0] for i in trainer.plan.step(0).items]
    total = torch.zeros(())
    for path in paths:
        ids = torch.as_tensor(path.ids).long()[None]
        logps = model(input_ids=ids).logits[0, -ids.shape[1] :].log_softmax(-1)
        total = (
            total - logps[torch.arange(len(path.prompt) - 1, len(path) - 1), ids[0, len(path.prompt) :]].sum()
        )
    (total / sum(len(p.response) for p in paths)).backward()
    for name, parameter in trained.items():
        assert torch.allclose(
            found[name], parameter.grad, atol=1e-5 * float(parameter.grad.abs().max()) + 1e-7
        ), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_learns_against_the_base_and_loads_back(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    settings = SETTINGS | {
        "adapter": kind,
        "virtual_tokens": 5,
        "quiet": True,
        "epochs": 6,
        "learning_rate": 0.1,
    }
    run = train(load(start), read(conversation_rows(3)), "dpo", output=tmp_path / "run", **settings)
    assert run.metrics[-1]["loss"] < run.metrics[0]["loss"] - 0.05
    assert "our passes and peft's agree" in (run.path / "preflight.txt").read_text()
    talk = [
        ([{"role": "user", "content": "Hello"}], "My order"),
        ([{"role": "user", "content": "No"}], "Yes"),
    ]
    loaded = load(tmp_path / "run")
    assert virtual_tokens(loaded.model) == 5
    assert torch.allclose(hl.logps(loaded, talk), hl.logps(run.policy, talk), atol=1e-5)
    assert not torch.allclose(hl.logps(loaded, talk), hl.logps(load(start), talk), atol=0.05)
    with pytest.raises(HalignError, match=rf"virtual tokens \(adapter={kind}\).*no plain checkpoint"):
        hl.merge(tmp_path / "run", tmp_path / "merged")
    again = train(loaded, read(conversation_rows(3)), "dpo", output=tmp_path / "again", **settings)
    assert again.metrics[0]["chosen_logratio"] == pytest.approx(
        0, abs=1e-4
    )  # its reference is what it started from
    with pytest.raises(
        HalignError, match=r"virtual_tokens=7 would have no effect: the model has 5 virtual tokens"
    ):
        train(
            loaded,
            read(conversation_rows(3)),
            "dpo",
            output=tmp_path / "7",
            **settings | {"virtual_tokens": 7},
        )


def test_virtual_tokens_begin_as_words(tokenizer: Any) -> None:
    """A fresh prefix is what the model makes of some text, not noise: keys and values of tokens from the vocabulary."""
    torch.manual_seed(3)
    model: Any = add_adapters(make_llama(tokenizer), TrainSettings(adapter="prefix", virtual_tokens=4))
    base = make_llama(tokenizer).eval()
    cache = model.get_prompt(batch_size=1)
    with torch.no_grad():
        seen = base(torch.arange(len(tokenizer))[:, None]).past_key_values  # every token, alone at position 0
    first = cache.layers[0].values[0, :, 0]
    assert (seen.layers[0].values[:, :, 0] - first).flatten(1).norm(dim=1).min() < 1e-4


def test_positions_for_virtual_tokens_are_needed_too(tokenizer: Any, tmp_path: Path) -> None:
    policy = Policy(make_llama(tokenizer, max_position_embeddings=128), tokenizer)
    with pytest.raises(
        HalignError, match=r"tokens behind 120 virtual ones, the model was made for 128; set max_length=8"
    ):
        trainer_for(policy, "sft", tmp_path, adapter="prompt", virtual_tokens=120)
