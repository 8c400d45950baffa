"""``halign train`` as a user meets it: a run, again, on; mistakes in one line; Ctrl-C in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml
from safetensors.torch import load_file

from halign.cli.main import main
from tests.conftest import conversation_rows

SMALL = ["learning_rate=1e-2", "batch_items=4", "warmup=0", "tensorboard=false"]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Halign:
    """The command, in this process: the same entry point as the script's."""

    def __init__(
        self, folder: Path, policy: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch
    ) -> None:
        self.folder, self.policy, self.capsys, self.patch = folder, policy, capsys, patch
        self.data = self.write("rows.jsonl", conversation_rows(4))

    def write(self, name: str, rows: list[dict[str, Any]]) -> Path:
        file = self.folder / name
        file.write_text("".join(json.dumps(r) + "\n" for r in rows))
        return file

    def __call__(self, *words: Any) -> Ended:
        self.capsys.readouterr()
        self.patch.setattr(sys, "argv", ["halign", *map(str, words)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        shown = self.capsys.readouterr()
        return Ended(code, shown.out, shown.err)

    def train(self, method: str | None, output: str, *words: Any) -> Ended:
        start = [method] if method else []
        return self(
            "train",
            *start,
            "--model",
            self.policy,
            "--data",
            self.data,
            "--output",
            self.folder / output,
            *words,
        )


@pytest.fixture
def halign(
    tmp_path: Path, policy_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Halign:
    return Halign(tmp_path, policy_folder, capsys, monkeypatch)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    one, two = weights(a), weights(b)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_a_run_and_the_same_command_again(halign: Halign, tmp_path: Path) -> None:
    done = halign.train("dpo", "run", *SMALL, "eval_share=0.25", "beta=0.3")
    assert done.code == 0, done.err
    assert "held-out items" in done.out
    assert "preflight" in done.err
    run = tmp_path / "run"
    for name in (
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "preflight.txt",
        "done",
        "model/config.json",
    ):
        assert (run / name).exists(), name
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["dpo"] == {"beta": 0.3, "label_smoothing": 0.0, "divergence": "reverse_kl", "alpha": 0.5}
    assert (config["data"], config["model"]) == (str(halign.data), str(halign.policy))
    before = (run / "metrics.jsonl").read_bytes()
    again = halign.train("dpo", "run", *SMALL, "eval_share=0.25", "beta=0.3")
    assert again.code == 0
    assert "finished: nothing to do (--overwrite starts anew)" in again.out
    assert (run / "metrics.jsonl").read_bytes() == before
    anew = halign.train("sft", "run", *SMALL, "--overwrite", "--quiet")
    assert anew == (0, "", anew.err)
    assert "preflight" not in anew.err
    assert yaml.safe_load((run / "config.yaml").read_text())["objective"] == {"sft": 1.0}


@pytest.mark.parametrize("objective", ["dpo+0.2*sft", "sft", "kto"])
def test_the_recorded_config_reproduces_the_run(objective: str, halign: Halign, tmp_path: Path) -> None:
    settings = [*SMALL, "optimizer=sgd", "epochs=1.5", "learning_rate=5e-3", "eval_share=0.25"]
    assert halign.train(objective, "run", *settings, "--quiet").code == 0
    config = tmp_path / "run" / "config.yaml"
    done = halign("train", "--config", config, "--output", tmp_path / "again", "--quiet")
    assert done.code == 0, done.err
    assert same(tmp_path / "run", tmp_path / "again")
    one, two = (yaml.safe_load((tmp_path / n / "config.yaml").read_text()) for n in ("run", "again"))
    assert one == two
    changed = halign(
        "train", "--config", config, "--output", tmp_path / "other", "--quiet", "learning_rate=6e-3"
    )
    assert changed.code == 0, changed.err
    assert not same(tmp_path / "run", tmp_path / "other")


def test_how_weights_and_rows_were_read_is_recorded_too(halign: Halign, tmp_path: Path) -> None:
    halign.data = halign.write("some_bad.jsonl", [*conversation_rows(2), {"nonsense": 1}])
    done = halign.train("dpo", "run", *SMALL, "--weights", "bf16", "--skip-bad", "max_steps=1")
    assert done.code == 0, done.err
    assert "1 bad rows skipped" in done.err
    again = halign(
        "train", "--config", tmp_path / "run" / "config.yaml", "--output", tmp_path / "again", "--quiet"
    )
    assert again.code == 0, again.err
    assert same(tmp_path / "run", tmp_path / "again")
    assert {t.dtype for t in weights(tmp_path / "again").values()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dop"], "did you mean 'dpo'?"),
        (["dpo", "bta=1"], "unknown setting 'bta'; did you mean 'beta'?"),
        (["dpo", "learning_rate=fast"], "learning_rate"),
        (["dpo", "lora_alpha=2"], "lora_alpha would have no effect"),
        (["dpo", "nonsense"], "key=value"),
        (["dpo", "--model", "/no/such/folder"], "/no/such/folder"),
        (["dpo", "--data", "/no/such/file.jsonl"], "/no/such/file.jsonl"),
        (["dpo", "--weights", "fp8"], "fp8"),
        (["no.module:f"], "cannot be imported"),
        (["dpo", "eval_every=1"], "eval_every would have no effect"),
        (["dpo", "--config", "/no/such.yaml"], "/no/such.yaml"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], says: str, halign: Halign, tmp_path: Path
) -> None:
    done = halign.train(words[0], "run", *words[1:])
    assert done.code == 2
    lines = [
        line
        for line in done.err.splitlines()
        if line.strip() and not line.startswith(("rendering", "Loading"))
    ]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("error: ")
    assert says in lines[0]
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


def test_what_is_missing_is_named(halign: Halign) -> None:
    assert "--model and --output missing" in halign("train", "dpo", "--data", halign.data).err
    assert "say METHOD" in halign("train", "beta=1").err


def test_a_bad_row_and_data_that_do_not_fit(halign: Halign) -> None:
    halign.data = halign.write(
        "bad.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a"}]
    )
    done = halign.train("dpo", "run", *SMALL)
    assert done.code == 2
    assert "bad.jsonl:2" in done.err
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    halign.data = halign.write("said.jsonl", [{"messages": said}])
    done = halign.train("dpo", "run", *SMALL)
    assert done.code == 2
    assert "Traceback" not in done.err


def test_help_shows_every_setting(halign: Halign, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = halign("train", "--help")
    assert shown.code == 0
    for word in ("learning_rate", "batch_items", "kto_pair", "label_smoothing", "2e-5 for sft", "Mixtures"):
        assert word in shown.out, word


def test_ctrl_c_saves_and_the_same_command_goes_on(
    halign: Halign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own, a real SIGINT in the middle of its steps."""
    settings = [*SMALL, "optimizer=sgd", "epochs=40"]
    command = [sys.executable, "-c", "from halign.cli.main import main; main()", "train", "sft", *settings]
    command += ["--model", str(halign.policy), "--data", str(halign.data), "--output", str(tmp_path / "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    metrics = tmp_path / "cut" / "metrics.jsonl"
    give_up = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") >= 5):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "stopped after step" in err.splitlines()[-1]
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert not (tmp_path / "cut" / "done").exists()
    done = len(metrics.read_text().splitlines())
    (checkpoint,) = (tmp_path / "cut" / "checkpoints").iterdir()
    assert checkpoint.name == f"step-{done:08d}"
    monkeypatch.setenv("COLUMNS", "400")
    resumed = halign.train("sft", "cut", *settings)
    assert resumed.code == 0, resumed.err
    assert f"after step {done}" in resumed.err
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, steps[-1] + 1))
    assert halign.train("sft", "whole", *settings, "--quiet").code == 0
    assert same(tmp_path / "cut", tmp_path / "whole")
