"""``halign merge``, and ``halign sample`` of every kind of adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from halign.cli.main import app
from halign.errors import HalignError
from halign.models import load
from halign.readers import read
from halign.training import train
from tests.conftest import conversation_rows

SETTINGS: dict[str, Any] = {"tensorboard": False, "quiet": True, "learning_rate": 0.05, "warmup": 0}
KINDS = {
    "lora": {"lora_rank": 2},
    "dora": {"adapter": "dora", "lora_rank": 2},
    "adalora": {"adapter": "adalora", "lora_rank": 2, "epochs": 4},
    "prompt": {"adapter": "prompt", "virtual_tokens": 3},
    "prefix": {"adapter": "prefix", "virtual_tokens": 3},
}


def call(*words: Any) -> Any:
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_sampled_and_merged(kind: str, policy_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    train(load(policy_folder), read(conversation_rows(2)), "dpo", output=output, **SETTINGS | KINDS[kind])
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Hello {'you ' * k}"}) + "\n" for k in range(3)))

    def replies(model: Path) -> list[Any]:
        file = tmp_path / "replies.jsonl"
        options = ("--max-new-tokens", 8, "--temperature", 0, "--device", "cpu")
        result = call("sample", "--model", model, "--prompts", prompts, "--output", file, *options)
        assert result.exit_code == 0, repr(result.exception)
        return [json.loads(line)["responses"] for line in file.read_text().splitlines()]

    before = replies(output)
    result = call("merge", output, "--output", tmp_path / "merged", "--prompts", prompts, "--limit", 2)
    if "virtual_tokens" in KINDS[kind]:
        assert isinstance(result.exception, HalignError)
        assert "no plain checkpoint can hold them" in str(result.exception)
        assert not (tmp_path / "merged").exists()
    else:
        assert result.exit_code == 0, repr(result.exception)
        assert "agree with the adapters'" in result.output
        assert "tolerance 0.002" in result.output
        assert replies(tmp_path / "merged") == before


def test_quantised_training_without_a_gpu_is_one_error(
    policy_folder: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = (
        "--model",
        policy_folder,
        "--data",
        "none.jsonl",
        "--output",
        tmp_path / "run",
        "--quantize",
        "4bit",
    )
    result = call("train", "dpo", *options, "lora_rank=2")
    assert isinstance(result.exception, HalignError)
    assert "quantize=4bit needs a CUDA GPU" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_help_says_what_each_option_does() -> None:
    command = typer.main.get_command(app).commands["merge"]  # type: ignore[attr-defined]
    assert all(p.help for p in command.params if p.name != "help")
