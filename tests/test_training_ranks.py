"""Several processes: one step's work on two ranks, however unevenly it falls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from halign.models import Policy, load
from halign.readers import read
from halign.training import train
from tests.conftest import conversation_rows, make_llama

SETTINGS_OF_BOTH: dict[str, Any] = {
    "learning_rate": 1e-2,
    "batch_items": 1,
    "warmup": 0,
    "max_steps": 3,
    "optimizer": "sgd",
    "clip": None,
    "tensorboard": False,
    "quiet": True,
    "eval_share": 0.34,
}


def test_a_rank_with_nothing_to_do_does_not_hold_up_the_other(tokenizer: Any, tmp_path: Path) -> None:
    """One item a step on two ranks: whoever has no pack makes no forward pass, and the wrapper must not wait for one."""
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in conversation_rows(3, turns=1)))
    script = tmp_path / "go.py"
    script.write_text(
        "import sys, torch, halign as hl\n"
        "torch.set_num_threads(1)\n"
        f"hl.train(sys.argv[1], hl.read(sys.argv[2]), 'kto', output=sys.argv[3], overwrite=True, **{SETTINGS_OF_BOTH})\n"
    )
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        str(script),
    ]
    command += [str(start), str(data), str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    train(load(start), read(data), "kto", output=tmp_path / "one", **SETTINGS_OF_BOTH)
    one, two = (load_file(tmp_path / n / "model" / "model.safetensors") for n in ("one", "two"))
    before = load_file(start / "model.safetensors")
    for name in one:
        change = float((one[name] - before[name]).abs().max())
        assert torch.allclose(one[name], two[name], atol=1e-3 * change + 1e-8), name
