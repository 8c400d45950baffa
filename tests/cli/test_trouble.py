"""What the machine refuses, and folders that hold no model: one line that says where and what helps, exit code 2."""

from __future__ import annotations

import errno
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from halign import run_folder
from halign.cli.main import main
from halign.cli.trouble import WAYS_OUT, trouble
from halign.errors import HalignError
from halign.models import load
from halign.rewards.loading import is_reward_model, load_reward
from tests.cli.test_train import SMALL, Halign
from tests.cli.test_train import halign as halign


def one_line(halign: Halign, *words: Any) -> str:
    """What a command says that ends with exit code 2."""
    ended = halign(*words)
    assert ended.code == 2, ended
    assert "Traceback" not in ended.err
    return ended.err.strip().splitlines()[-1]


def test_an_output_that_is_a_file(halign: Halign, tmp_path: Path) -> None:
    said = halign.train("dpo", "rows.jsonl", *SMALL)
    assert said.code == 2
    assert said.err.strip().endswith(f"error: {tmp_path / 'rows.jsonl'}: File exists; name another output")


def test_a_full_disk_ends_a_run_in_one_line_and_the_same_command_goes_on(
    halign: Halign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_folder.write_text

    def full(path: Path, text: str) -> None:
        if path.name == "done":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, text)

    monkeypatch.setattr(run_folder, "write_text", full)
    said = halign.train("sft", "run", *SMALL, "max_steps=2", "--quiet")
    assert said.code == 2
    assert "No space left on device; make room there and give the same command again" in said.err
    monkeypatch.setattr(run_folder, "write_text", whole)
    assert halign.train("sft", "run", *SMALL, "max_steps=2", "--quiet").code == 0
    assert (tmp_path / "run" / "done").exists()


def test_what_rust_says_of_a_full_disk_is_understood_too() -> None:
    error = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert trouble(error) == f"No space left on device; {WAYS_OUT[errno.ENOSPC]}"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault() -> None:
        raise KeyError("a")

    monkeypatch.setattr("halign.cli.main.app", fault)
    monkeypatch.setattr(sys, "argv", ["halign"])
    with pytest.raises(KeyError):
        main()
    assert trouble(OSError(errno.EBADF, "Bad file descriptor")) is None


def test_a_configuration_that_is_no_text(halign: Halign, tmp_path: Path) -> None:
    packed = tmp_path / "config.yaml"
    packed.write_bytes(gzip.compress(b"data: x"))
    assert one_line(halign, "train", "--config", packed).endswith(
        "not UTF-8; a YAML file of settings was expected"
    )
    gone = one_line(halign, "train", "--config", tmp_path / "gone.yaml")
    assert (
        gone
        == f"error: {tmp_path / 'gone.yaml'}: No such file or directory; a YAML file of settings was expected"
    )


@pytest.mark.parametrize("loader", [load, load_reward])
def test_a_path_that_holds_no_model_says_what_is_there(loader: Any, tmp_path: Path) -> None:
    with pytest.raises(HalignError, match="is no model: it holds neither config"):
        loader(tmp_path)
    (tmp_path / "config.yaml").write_text("data: x\n")
    with pytest.raises(HalignError, match="a run that has not finished"):
        loader(tmp_path)
    with pytest.raises(HalignError, match="is a file, and a model is a folder"):
        loader(tmp_path / "config.yaml")


def test_a_damaged_config_of_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": [')
    with pytest.raises(HalignError, match=r"config\.json is damaged .* fetch or save the model again"):
        is_reward_model(tmp_path)


def test_chat_messages_for_a_model_without_a_chat_template(
    halign: Halign, policy: Any, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    kept, policy.tokenizer.chat_template = policy.tokenizer.chat_template, None
    try:
        policy.save(bare)
    finally:
        policy.tokenizer.chat_template = kept
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"prompt": [{"role": "user", "content": "Hi"}]}) + "\n")
    train = ("train", "dpo", "--model", bare, "--data", halign.data, "--output", tmp_path / "run")
    sample = ("sample", "--model", bare, "--prompts", prompts, "--output", tmp_path / "said.jsonl")
    for words in (train, sample):
        assert "the model's tokenizer has no chat template" in one_line(halign, *words)
