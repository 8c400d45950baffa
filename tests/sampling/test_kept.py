"""Replies that are kept as they come: a job that was stopped ends in the replies that it would have had."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from halign.cache import cache_dir
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.readers.write import see_writable
from halign.sampling import TransformersSampler
from halign.sampling.kept import KeptSampler
from tests.conftest import TEXTS

HOW: dict[str, Any] = {"n": 2, "max_new_tokens": 6, "seed": 3}


def asked() -> list[Dialogue]:
    return [Dialogue.of([{"role": "user", "content": text}]) for text in TEXTS]


def texts(found: Any) -> list[list[tuple[str, list[int], bool]]]:
    return [[(s.text, s.ids.tolist(), s.finished) for s in row] for row in found]


class Stopped(TransformersSampler):
    """Is interrupted when it is asked for the second time."""

    calls: list[int]

    def sample(self, prompts: Any, **settings: Any) -> Any:
        self.calls.append(len(prompts))
        if len(self.calls) == 2:
            raise KeyboardInterrupt
        return super().sample(prompts, **settings)


def test_an_interrupted_job_goes_on_and_ends_in_the_same_replies(policy: Any) -> None:
    whole = TransformersSampler(policy).sample(asked(), **HOW)
    sampler = Stopped(policy)
    sampler.calls = []
    first = KeptSampler(sampler, chunk=4)
    with pytest.raises(KeyboardInterrupt):
        first.sample(asked(), **HOW)
    assert first.kept == 2
    heard: list[tuple[int, int]] = []
    again = KeptSampler(sampler, chunk=4)
    found = again.sample(asked(), **HOW, progress=lambda done, total: heard.append((done, total)))
    assert sampler.calls == [2, 2, 2, 2]  # one whole, one cut, then the two that were missing
    assert texts(found) == texts(whole)
    assert heard[-1] == (12, 12)
    assert [done for done, _ in heard] == sorted(done for done, _ in heard)
    assert heard[0][0] > 4
    again.forget()
    assert not list(cache_dir("sampled").iterdir())


def test_another_seed_model_or_prompt_is_another_job(policy: Any) -> None:
    kept = KeptSampler(TransformersSampler(policy))
    kept.sample(asked(), **HOW)
    kept.sample(asked(), **{**HOW, "seed": 4})
    kept.sample(asked()[:3], **HOW)
    KeptSampler(TransformersSampler(policy, prefix="Well: ")).sample(asked(), **HOW)
    next(policy.model.parameters()).data.add_(0.01)
    kept.sample(asked(), **HOW)
    assert len(list(cache_dir("sampled").iterdir())) == 5


def test_ctrl_c_says_what_is_kept(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, output = tmp_path / "prompts.jsonl", tmp_path / "said.jsonl"
    prompts.write_text(
        "".join(json.dumps({"prompt": [{"role": "user", "content": t}]}) + "\n" for t in TEXTS)
    )
    code = (
        "import os, signal\n"
        "from halign.sampling import local, kept\n"
        "kept.KeptSampler.__init__.__kwdefaults__['chunk'] = 2\n"
        "plain = local.TransformersSampler.sample\n"
        "def sample(self, prompts, **how):\n"
        "    if how['first'] == 2: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return plain(self, prompts, **how)\n"
        "local.TransformersSampler.sample = sample\n"
        "from halign.cli.main import main\n"
        "main()\n"
    )
    words = [
        "sample",
        "--model",
        policy_folder,
        "--prompts",
        prompts,
        "--output",
        output,
        "--max-new-tokens",
        4,
    ]
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 130, ran.stderr
    assert f"stopped: replies to 2 of {len(TEXTS)} prompts are kept" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not output.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_where_no_file_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    see_writable(tmp_path / "new" / "a.jsonl")
    with pytest.raises(HalignError, match="is a folder: name a file"):
        see_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(HalignError, match="is a file, and a folder is wanted there"):
        see_writable(tmp_path / "file" / "a.jsonl")
    monkeypatch.setattr("os.access", lambda place, how: place != tmp_path)
    with pytest.raises(HalignError, match="nothing may be written in"):
        see_writable(tmp_path / "new" / "a.jsonl")
