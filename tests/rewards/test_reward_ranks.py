"""Two ranks train the reward model that one would, and judge it on the same comparisons."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.rewards.test_reward_runs import ranking_rows

SCRIPT = """
import sys, torch, halign as hl
torch.set_num_threads(1)
hl.train(sys.argv[1], hl.read(sys.argv[2]), "reward", output=sys.argv[3], learning_rate=1e-2, batch_items=6, max_steps=2,
         max_tokens=256, eval_share=0.25, optimizer="sgd", clip=None, warmup=0, tensorboard=False, quiet=True)
"""


def test_two_ranks_are_one(policy_folder: Path, tmp_path: Path) -> None:
    rows, script = tmp_path / "rows.jsonl", tmp_path / "go.py"
    rows.write_text("".join(json.dumps(r) + "\n" for r in ranking_rows(16)))
    script.write_text(SCRIPT)
    for ranks in (1, 2):
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if ranks == 2 else []
        command = [
            sys.executable,
            *launch,
            str(script),
            str(policy_folder),
            str(rows),
            str(tmp_path / f"r{ranks}"),
        ]
        env = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (load_file(tmp_path / f"r{r}" / "model" / "model.safetensors") for r in (1, 2))
    start = load_file(policy_folder / "model.safetensors")
    assert one.keys() == two.keys()
    assert any(not torch.equal(one[k], start[k]) for k in start if k in one)
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-6), name
    cards = [json.loads((tmp_path / f"r{r}" / "reward.json").read_text()) for r in (1, 2)]
    assert cards[0]["accuracy"] == cards[1]["accuracy"]
    assert cards[0]["accuracy"]["n"] == 24
    assert abs(cards[0]["calibration_error"] - cards[1]["calibration_error"]) < 1e-5
