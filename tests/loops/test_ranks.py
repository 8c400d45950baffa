"""Loops on two ranks: the replies, advantages, gradients and weights of one process, however unevenly the work falls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from halign.models import Policy
from tests.conftest import make_llama
from tests.loops.on_ranks import GRADIENTS, everything

ROOT = Path(__file__).resolve().parents[2]
VARYING = ("seconds", "samples_per_s", "sharing", "tokens")
"""Figures that depend on how work is cut."""


@pytest.fixture(scope="module")
def ran(tokenizer: Any, answering: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(folder, what one process saw), (folder, what each of two ranks saw)."""
    base = tmp_path_factory.mktemp("ranks")
    Policy(make_llama(tokenizer), tokenizer).save(base / "start")
    one, two = base / "one", base / "two"
    one.mkdir()
    two.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", "tests.loops.on_ranks", str(base / "start"), str(answering), str(two)],
        cwd=ROOT,
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "HALIGN_CACHE": str(base / "cache"),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    ranks = [torch.load(two / f"rank{n}.pt", weights_only=False) for n in (0, 1)]
    return (one, everything(base / "start", answering, one)), (two, ranks)


@pytest.mark.parametrize("name", GRADIENTS)
def test_replies_and_their_worth_are_those_of_one_process(ran: Any, name: str) -> None:
    (_, one), (_, ranks) = ran
    for seen in ranks:
        assert len(seen[name]["rollouts"]) == len(one[name]["rollouts"]) == 2
        for mine, alone in zip(seen[name]["rollouts"], one[name]["rollouts"], strict=True):
            assert [r["reply"] for r in mine] == [r["reply"] for r in alone]
            for a, b in zip(mine, alone, strict=True):
                assert a["numbers"].keys() == b["numbers"].keys()
                for column, numbers in a["numbers"].items():
                    np.testing.assert_allclose(
                        numbers, b["numbers"][column], rtol=1e-5, atol=1e-5, err_msg=column
                    )


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_and_weights_are_those_of_one_process(ran: Any, name: str) -> None:
    (_, one), (_, ranks) = ran
    alone = one[name]
    assert alone["gradients"]
    for seen in (r[name] for r in ranks):
        assert len(seen["gradients"]) == len(alone["gradients"])
        for step, (mine, others) in enumerate(zip(seen["gradients"], alone["gradients"], strict=True)):
            assert mine.keys() == others.keys()
            largest = max(float(g.abs().max()) for g in others.values())
            for n, gradient in mine.items():
                torch.testing.assert_close(
                    gradient, others[n], rtol=0, atol=1e-5 * largest, msg=f"{step} {n}"
                )
        for n, weight in seen["weights"].items():
            torch.testing.assert_close(weight, alone["weights"][n], rtol=0, atol=2e-6, msg=n)
    for n, weight in ranks[0][name]["weights"].items():
        assert torch.equal(weight, ranks[1][name]["weights"][n]), n


@pytest.mark.parametrize("name", GRADIENTS)
def test_figures_are_of_the_whole_batch(ran: Any, name: str) -> None:
    """Beta as it is adapted, explained variance, KL of the updates and all else; each row and sample is written once."""
    (one, _), (two, _) = ran
    rows = [read_rows(folder / name / "metrics.jsonl") for folder in (one, two)]
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys()
        differing = [k for k in a if not k.startswith(VARYING) and not same(a[k], b[k])]
        assert not differing, (a["step"], differing)
    samples = [read_rows(folder / name / "samples.jsonl") for folder in (one, two)]
    assert [s["reply"] for s in samples[0]] == [s["reply"] for s in samples[1]]


def test_work_is_shared_and_may_be_uneven(ran: Any) -> None:
    (_, one), (_, ranks) = ran
    assert [r["ppo"]["drawn"] for r in ranks] == [[2, 4, 4, 2], [1, 2, 2, 1]]  # held out, twice three prompts
    assert one["ppo"]["drawn"] == [3, 6, 6, 3]
    # 3 + 6 + 6 + 3 replies, and the six demonstrations that scores are shifted by
    assert [r["ppo"]["asked"] for r in ranks] == [15, 9]
    assert one["ppo"]["asked"] == 24
    assert [r["grpo"]["drawn"] for r in ranks] == [[4, 4], []]
    assert ranks[0]["grpo"]["packs"] == [[1, 0], [1, 0]]  # the second rank has nothing to learn either
    assert all(min(packs) >= 1 and max(packs) >= 2 for packs in ranks[0]["ppo"]["packs"])


def test_an_early_stop_is_everyones(ran: Any) -> None:
    (one, alone), (two, ranks) = ran
    rows = [read_rows(folder / "stopped" / "metrics.jsonl") for folder in (one, two)]
    assert all(r["stopped_early"] == 1.0 and 1 < r["updates"] < 15 for r in rows[0])
    assert [r["updates"] for r in rows[0]] == [r["updates"] for r in rows[1]]
    assert [len(seen["stopped"]["gradients"]) for seen in (alone, *ranks)] == [
        sum(r["updates"] for r in rows[0])
    ] * 3


def test_a_stopped_run_ends_with_the_same_bits(ran: Any) -> None:
    """Ctrl-C reaches one rank only; all stop after the same iteration, and the same call on two ranks goes on."""
    _, (two, ranks) = ran
    for seen in ranks:
        assert "Interrupted: stopped after iteration 2 of 3" in seen["resumed"]["first"]
        assert seen["resumed"]["then"] == ""
    whole, cut = (load_file(two / "resumed" / n / "model" / "model.safetensors") for n in ("whole", "cut"))
    assert all(torch.equal(whole[n], cut[n]) for n in whole)
    rows = [read_rows(two / "resumed" / n / "metrics.jsonl") for n in ("whole", "cut")]
    plain = [[{k: v for k, v in r.items() if not k.startswith(VARYING)} for r in some] for some in rows]
    assert plain[0] == plain[1]


def test_a_reward_that_fails_on_one_rank_ends_the_run_on_all(ran: Any) -> None:
    _, (_, ranks) = ran
    for run in ("failed", "rounds_failed"):
        assert [r[run] for r in ranks] == [
            "HalignError: rank 1 failed: ConnectionError: no answer",
            "ConnectionError: no answer",
        ]


@pytest.mark.parametrize("name", ["raft", "online_dpo", "raft_resumed"])
def test_rounds_write_what_one_process_writes(ran: Any, name: str) -> None:
    """Also where one rank was stopped in the middle and all went on later."""
    (one, _), (two, ranks) = ran
    if name == "raft_resumed":
        for seen in ranks:
            assert "Interrupted: stopped sampling in round 2 after 5 of 11" in seen["rounds_resumed"]["first"]
            assert seen["rounds_resumed"]["then"] == ""
    alone = one / name.removesuffix("_resumed")
    files = sorted(p.relative_to(alone) for p in alone.glob("rounds/*/*.jsonl"))
    assert len(files) == 9  # three in each of two rounds, and three evaluations
    for file in files:
        mine, others = read_rows(two / name / file), read_rows(alone / file)
        assert same(mine, others), file
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (alone, two / name)]
    for n, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][n], rtol=1e-4, atol=1e-5, msg=n)
    rows = [read_rows(folder / "metrics.jsonl") for folder in (alone, two / name)]
    assert same(*([{k: v for k, v in r.items() if k != "seconds"} for r in some] for some in rows))


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def same(a: Any, b: Any) -> bool:
    """Equal but for the rounding of numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == pytest.approx(b, rel=1e-4, abs=2e-5)) if isinstance(a, float) else a == b
