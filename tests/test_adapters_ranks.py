"""Adapters on two processes: the same as on one, also where one of them has nothing to do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from halign.models import Policy, load
from halign.readers import read
from halign.training import train
from tests.conftest import conversation_rows, make_llama

COMMON: dict[str, Any] = {
    "warmup": 0,
    "max_steps": 5,
    "clip": None,
    "tensorboard": False,
    "quiet": True,
    "optimizer": "sgd",
}
ADALORA = {"adapter": "adalora", "lora_rank": 3, "learning_rate": 0.5}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"batch_items": 6, "max_tokens": 120, **ADALORA}, marks=pytest.mark.long),
        {"batch_items": 1, **ADALORA},
        {"batch_items": 6, "max_tokens": 300, "adapter": "prefix", "virtual_tokens": 3, "learning_rate": 0.1},
        {
            "batch_items": 6,
            "max_tokens": 120,
            "lora_rank": 2,
            "modules_to_save": ["lm_head"],
            "learning_rate": 0.1,
        },
    ],
    ids=["adalora", "adalora, one pack", "prefix", "head"],
)
def test_two_ranks_train_what_one_does(settings: Any, tokenizer: Any, tmp_path: Path) -> None:
    start = tmp_path / "start"
    Policy(make_llama(tokenizer), tokenizer).save(start)
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in conversation_rows(6)))
    script = tmp_path / "go.py"
    script.write_text(
        "import sys, torch, halign as hl\n"
        "torch.set_num_threads(1)\n"
        f"hl.train(sys.argv[1], hl.read(sys.argv[2]), 'dpo', output=sys.argv[3], **{COMMON | settings})\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(script), str(start), str(data), str(tmp_path / "two")],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run = train(load(start), read(data), "dpo", output=tmp_path / "one", **COMMON | settings)
    other = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    for a, b in zip(run.metrics, other, strict=True):
        for name in {"loss", "gradient_norm", "orthogonality"} & a.keys():
            assert a[name] == pytest.approx(b[name], rel=1e-3), (a["step"], name)
    one, two = (load_file(tmp_path / n / "model" / "adapter_model.safetensors") for n in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-3 * float(one[name].abs().max()) + 1e-8), name
