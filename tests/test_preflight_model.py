"""The preflight's look at the model: each trap planted, caught by its name, and let through when accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from halign import stepping
from halign.attention import MaskScheme, Reach
from halign.errors import HalignError
from halign.models import Policy
from halign.preflight import ERRORS
from halign.preflight_model import check_model
from halign.readers import read
from halign.reference import CachedReference
from halign.run_folder import RunFolder
from halign.training import Trainer, train
from tests.conftest import conversation_rows, enlarge, make_llama
from tests.test_training import SETTINGS, trainer_for

QUIET = SETTINGS | {"quiet": True, "max_steps": 1}


def caught(policy: Policy, tmp_path: Path, name: str, objective: str = "dpo", **settings: Any) -> str:
    """Train: the trap stops it by its name, is in preflight.txt, and passes when accepted. The error's text."""
    rows = read(conversation_rows(3))
    with pytest.raises(HalignError, match=rf"accept=\[{name}\]") as error:
        train(policy, rows, objective, output=tmp_path / "run", **(QUIET | settings))
    assert f"ERROR  {name}" in (tmp_path / "run" / "preflight.txt").read_text()
    assert not RunFolder(tmp_path / "run").metrics()
    run = train(policy, rows, objective, output=tmp_path / "run", **(QUIET | settings), accept=[name])
    assert run.last["step"] == 1
    assert name in (run.path / "preflight.txt").read_text()
    return str(error.value)


def test_what_is_right_passes(tokenizer: Any, tmp_path: Path) -> None:
    trainer = trainer_for(Policy(make_llama(tokenizer), tokenizer), "dpo", tmp_path)
    found = {f.name: f for f in check_model(trainer)}
    assert {f.level for f in found.values()} == {"info"}
    assert "agree" in found["trie_differs"].text
    assert "agree" in found["not_reference"].text
    assert "distinct ones" in found["engine"].text
    assert trainer.scorer.training


def test_dropout_that_was_left_on(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose dropout hides from ``disable_dropout``, behind a name it does not know."""

    class Hidden(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.dropout(x, 0.1, self.training)

    policy = Policy(make_llama(tokenizer), tokenizer)
    policy.model.model.layers[0].register_module("hidden", Hidden())
    policy.model.model.layers[0].register_forward_hook(lambda m, a, out: m.hidden(out))
    says = caught(policy, tmp_path, "not_repeatable")
    assert "two forward passes differ" in says


def test_the_models_own_dropout_is_no_trap_and_asked_for_it_is_none_either(
    tokenizer: Any, tmp_path: Path
) -> None:
    for objective, more in (
        ("dpo", {}),
        ("sft", {"dropout": True}),
        ("dpo", {"lora_rank": 2, "lora_dropout": 0.2}),
    ):
        policy = Policy(make_llama(tokenizer, attention_dropout=0.2), tokenizer)
        findings = check_model(trainer_for(policy, objective, tmp_path, **more))
        assert {f.level for f in findings} == {"info"}, findings


def test_a_reference_that_is_not_the_starting_model(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = CachedReference.compute

    def other(model: Any, plan: Any, **more: Any) -> Any:
        found = original(model, plan, **more)
        return CachedReference({slot: logps - 0.05 for slot, logps in found._logps.items()})

    monkeypatch.setattr(CachedReference, "compute", other)
    says = caught(Policy(make_llama(tokenizer), tokenizer), tmp_path, "not_reference")
    assert "policy and reference before step 1 differ: mean 0.05" in says


def test_adapters_switched_off_are_no_reference_for_adapters_that_were_trained(
    tokenizer: Any, tmp_path: Path
) -> None:
    policy = Policy(make_llama(tokenizer), tokenizer)
    rows = read(conversation_rows(3))
    train(policy, rows, "sft", output=tmp_path / "before", lora_rank=2, **QUIET | {"max_steps": 3})
    caught(policy, tmp_path, "not_reference", lora_rank=2, reference="adapter")


def test_a_model_that_ignores_its_mask(tokenizer: Any, tmp_path: Path) -> None:
    """MPT, with the probe's verdict overruled: responses then see their siblings."""
    config = transformers.MptConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        n_layers=2,
        n_heads=4,
        max_seq_len=512,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = transformers.MptForCausalLM(config)
    enlarge(model)
    policy = Policy(model, tokenizer)
    assert not policy.capability.scheme.shares
    believed = MaskScheme("one", {"full_attention": Reach()})
    policy.__dict__["capability"] = replace(policy.capability, scheme=believed)
    assert "shared and separate passes differ" in caught(
        policy, tmp_path, "trie_differs", objective="preferred_ft"
    )


def test_a_trie_read_at_the_wrong_token(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The classic mistake of shifting by one."""
    original = stepping.tree_batch

    def shifted(*args: Any, **more: Any) -> Any:
        batch = original(*args, **more)
        return replace(batch, read_at=(batch.read_at + 1).clamp(max=batch.input_ids.numel() - 1))

    monkeypatch.setattr(stepping, "tree_batch", shifted)
    caught(Policy(make_llama(tokenizer), tokenizer), tmp_path, "trie_differs", objective="preferred_ft")


def test_the_wrong_rotary_positions_are_caught(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions counted along the row instead of along the path."""
    original = stepping.tree_batch

    def rowwise(*args: Any, **more: Any) -> Any:
        batch = original(*args, **more)
        return replace(
            batch, position_ids=torch.arange(batch.input_ids.shape[1])[None].expand_as(batch.input_ids)
        )

    monkeypatch.setattr(stepping, "tree_batch", rowwise)
    caught(Policy(make_llama(tokenizer), tokenizer), tmp_path, "trie_differs", objective="preferred_ft")


def test_names_that_can_be_accepted(tokenizer: Any, tmp_path: Path) -> None:
    for name in ("not_repeatable", "trie_differs", "not_reference", "not_finite", "too_long"):
        assert ERRORS[name]
    with pytest.raises(HalignError, match="trie_differ"):
        train(
            Policy(make_llama(tokenizer), tokenizer),
            read(conversation_rows(2)),
            "dpo",
            output=tmp_path / "run",
            **(QUIET | {"accept": ["trie_differ"]}),
        )
    assert Trainer  # the preflight is part of every run
