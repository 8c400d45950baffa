"""``halign.merge``: a plain checkpoint that says what the adapters on their base say, or none at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

import halign as hl
from halign.adapters import merging
from halign.adapters.build import add_adapters
from halign.errors import HalignError
from halign.models import Policy, load
from halign.readers import read
from halign.train_settings import TrainSettings
from halign.training import train
from tests.conftest import conversation_rows, make_llama
from tests.test_training import SETTINGS

TALK = [([{"role": "user", "content": "Hello"}], "My order"), ([{"role": "user", "content": "No"}], "Yes")]
WAYS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"adapter": "rslora"},
    "dora": {"adapter": "dora"},
    "adalora": {"adapter": "adalora", "lora_rank": 3},
    "embeddings": {"modules_to_save": ("embed_tokens",)},
    "both": {"modules_to_save": ("embed_tokens", "lm_head")},
    "lora on embeddings": {"lora_targets": ("embed_tokens", "q_proj")},
    "lora on head": {"lora_targets": ("lm_head", "q_proj")},
    "lora on both": {"lora_targets": ("embed_tokens", "lm_head", "q_proj")},
}


def adapter_folder(tokenizer: Any, tmp_path: Path, tied: bool = False, **settings: Any) -> Path:
    """Adapters that do something, on a base in a folder."""
    Policy(make_llama(tokenizer, tie_word_embeddings=tied), tokenizer).save(tmp_path / "base")
    policy = load(tmp_path / "base")
    policy.model = add_adapters(policy.model, TrainSettings(**({"lora_rank": 2} | settings)))
    generator = torch.Generator().manual_seed(4)
    for name, parameter in policy.model.named_parameters():
        if parameter.requires_grad:
            parameter.data += (3.0 if "lora_E" in name else 0.05) * torch.randn(
                parameter.shape, generator=generator
            )
    policy.save(tmp_path / "adapters")
    return tmp_path / "adapters"


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_says_the_same_without_peft(
    way: str, tied: bool, tokenizer: Any, tmp_path: Path
) -> None:
    source = adapter_folder(tokenizer, tmp_path, tied, **WAYS[way])
    made = hl.merge(source, tmp_path / "merged", prompts=["Hello", "My order has not arrived yet"])
    assert made.largest < 2e-3 == made.tolerance
    assert made.tokens > 4 * 31
    expected = hl.logps(load(source), TALK)
    merged = load(tmp_path / "merged")
    assert not hasattr(merged.model, "peft_config")
    assert torch.allclose(hl.logps(merged, TALK), expected, atol=1e-3)
    assert not torch.allclose(hl.logps(load(tmp_path / "base"), TALK), expected, atol=0.05)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert plain.config.tie_word_embeddings == (tied and "lora on" not in way)


def test_a_run_is_merged_with_what_it_needs_to_be_used(tokenizer: Any, tmp_path: Path) -> None:
    Policy(make_llama(tokenizer), tokenizer).save(tmp_path / "base")
    settings = SETTINGS | {"lora_rank": 2, "quiet": True, "template_args": {"enable": True}}
    run = train(
        load(tmp_path / "base"), read(conversation_rows(3)), "dpo", output=tmp_path / "run", **settings
    )
    hl.merge(tmp_path / "run", tmp_path / "merged")
    there = {p.name for p in (tmp_path / "merged").iterdir()}
    assert {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"} <= there
    assert not any("adapter" in name for name in there)
    rendering = json.loads((tmp_path / "merged" / "halign_rendering.json").read_text())
    assert rendering == load(run.path).rendering
    assert rendering["template_args"] == {"enable": True}
    assert torch.allclose(hl.logps(load(tmp_path / "merged"), TALK), hl.logps(run.policy, TALK), atol=1e-3)


def test_weights_in_bf16_are_written_so_and_compared_loosely(tokenizer: Any, tmp_path: Path) -> None:
    source = adapter_folder(tokenizer, tmp_path)
    made = hl.merge(source, tmp_path / "merged", dtype="bf16")
    assert 2e-3 < made.largest < made.tolerance == 0.25
    with safe_open(tmp_path / "merged" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(n).dtype for n in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    with pytest.raises(
        HalignError, match=r"differ from the adapters' by up to .*tolerance of 0.001.*dtype=fp32"
    ):
        hl.merge(source, tmp_path / "strict", dtype="bf16", tolerance=1e-3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapters", "base", "merged"]


def test_a_merge_that_goes_wrong_leaves_nothing(tokenizer: Any, tmp_path: Path, monkeypatch: Any) -> None:
    source = adapter_folder(tokenizer, tmp_path, tied=True, lora_targets=("lm_head",))
    monkeypatch.setattr(merging, "_untie", lambda model: None)  # as peft alone would do it
    with pytest.raises(HalignError, match="nothing was written"):
        hl.merge(source, tmp_path / "merged")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["adapters", "base"]


def test_what_cannot_be_merged_is_said(tokenizer: Any, tmp_path: Path) -> None:
    source = adapter_folder(tokenizer, tmp_path)
    with pytest.raises(HalignError, match="base is a plain model: it has no adapters"):
        hl.merge(tmp_path / "base", tmp_path / "merged")
    with pytest.raises(HalignError, match="base is there already"):
        hl.merge(source, tmp_path / "base")
    with pytest.raises(HalignError, match="dtype 'fp8'"):
        hl.merge(source, tmp_path / "merged", dtype="fp8")
    config = source / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": None}))
    with pytest.raises(HalignError, match="do not say what they belong to"):
        hl.merge(source, tmp_path / "merged")


@pytest.mark.parametrize(
    ("bits", "says"), [("3bit", "is not one of 4bit, 8bit"), ("4bit", "CUDA"), ("8bit", "CUDA")]
)
def test_quantised_loading_says_what_it_lacks(
    bits: str, says: str, policy_folder: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HalignError, match=says):
        load(policy_folder, quantize=bits)


def test_bitsandbytes_is_asked_for_by_name(policy_folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("halign.quantize.find_spec", lambda name: None)
    with pytest.raises(HalignError, match=r"quantize=4bit needs bitsandbytes.*pip install bitsandbytes"):
        load(policy_folder, quantize="4bit")


def test_quantised_weights_are_not_trained_themselves(policy: Policy, tmp_path: Path) -> None:
    policy.model.is_quantized = True  # type: ignore[assignment]
    with pytest.raises(HalignError, match="cannot be trained themselves: train adapters"):
        train(policy, read(conversation_rows(2)), "sft", output=tmp_path / "run", quiet=True)
