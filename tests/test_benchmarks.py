"""The benchmarks: fair rows, windows that time what they say, floors that fail when missed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import all as everything
from benchmarks import duel, harness, pacing, sampling, workloads
from benchmarks.duel import Match
from benchmarks.pacing import Pacer, Window

from tests.conftest import make_llama, make_tokenizer


@pytest.mark.parametrize("workload", ["conversations", "pairs"])
def test_rows_need_no_data_folder_and_are_the_same_each_time(
    workload: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HALIGN_DATA", str(tmp_path))
    assert workloads.source(workload) == "care world"
    rows = workloads.rows(workload, 40)
    assert rows == workloads.rows(workload, 40)
    for row in rows:
        assert row["prompt"][-1]["role"] == "user"
        chosen, rejected = row["chosen"][0]["content"], row["rejected"][0]["content"]
        assert chosen.strip() == chosen != rejected


def test_conversations_have_about_ten_turns_that_share_a_trunk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HALIGN_DATA", str(tmp_path))
    rows = workloads.rows("conversations", 60)
    first = [r for r in rows if r["conversation"] == rows[0]["conversation"]]
    assert len(first) in workloads.TURNS
    for before, after in pairwise(first):
        trunk = before["prompt"] + before["chosen"]
        assert after["prompt"][: len(trunk)] == trunk
    with_rules = workloads.rows("conversations", 60, guardrails=True)
    assert with_rules[0]["prompt"][0]["role"] == "system"
    assert with_rules[0]["prompt"][1:] == rows[0]["prompt"]


def test_too_few_rows_are_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workloads, "_pairs", lambda: iter([{}] * 3))
    with pytest.raises(SystemExit, match="3 items, 4 wanted"):
        workloads.rows("pairs", 4)


def test_windows_leave_out_the_warm_up_and_wait_before_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps to warm up, then 2 windows of 3: it waits after 2 and 5, reports at 2 (ready), 5 and 8."""
    said: list[tuple[int, list[str]]] = []
    waited: list[int] = []
    clock = iter(range(0, 1000, 10))
    step = 0

    class Stdin:
        def readline(self) -> str:
            waited.append(step)
            return "go\n"

    class Recorded(Pacer):
        def __init__(self) -> None:
            self.window = Window(2, 3, 2)
            self._loaded_mb = self._started = self._cpu = 0.0

        def report(self, **facts: Any) -> None:
            said.append((step, sorted(facts)))
            if "seconds" in facts:
                assert facts["seconds"] == 10

    monkeypatch.setattr(pacing.sys, "stdin", Stdin())
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: next(clock))
    forgot: list[int] = []
    pacer = Recorded()
    for step in range(1, pacer.window.total + 1):
        monkeypatch.setattr(pacing, "forget_peak", lambda step=step: forgot.append(step))
        pacer.step_done(step)
    assert forgot == [1]
    assert pacer.window.total == 8
    assert waited == [2, 5]
    assert said == [(2, ["loaded_mb"]), (5, ["cpu_seconds", "seconds"]), (8, ["cpu_seconds", "seconds"])]


def test_a_match_holds_whole_steps_and_whole_micro_batches() -> None:
    match = Match("conversations", "trl", items=70, batch_items=32, peer_size=12, threads=1).filled()
    assert (match.items, match.batch_items, match.peer_size) == (64, 32, 4)
    small = Match("pairs", "separate", items=8, threads=1).filled()
    assert (small.items, small.batch_items) == (8, 8)


def test_agreement_is_the_largest_gap() -> None:
    ours = {"chosen_logps": [-10.0, -9.0], "rejected_logps": [-20.0, -21.0]}
    peer = {"chosen_logps": [-10.5, -9.0], "rejected_logps": [-20.0, -21.25]}
    assert duel.agreement(ours, peer) == {"first_step": 0.5, "last_step": 0.25, "logps": -10.0, "moved": 2.0}


@pytest.mark.parametrize(
    ("ratio", "share", "speed", "memory"),
    [(20.0, 0.3, True, True), (19.9, 0.3, False, True), (25.0, 0.4, True, False)],
)
def test_missed_floors_fail(ratio: float, share: float, speed: bool, memory: bool) -> None:
    result = {
        "workload": "conversations",
        "guardrails": False,
        "peer": "trl",
        "dtype": "fp32",
        "ratio": ratio,
        "memory_ratio": share,
        "distinct_tokens": 100,
        "flat_tokens": 900,
        "ours_per_s": 1.0,
        "peer_per_s": 1.0,
        "ours_peak_mb": 1.0,
        "peer_peak_mb": 3.0,
    }
    line = everything.preference_line(result)
    assert (line.speed, line.memory, line.passed) == (speed, memory, speed and memory)
    assert everything.table([line]).row_count == 1


@pytest.mark.parametrize(("ratio", "passed"), [(3.0, True), (2.99, False)])
def test_a_missed_floor_of_sampling_fails(ratio: float, passed: bool) -> None:
    result = {"workload": "care", "peer": "generate", "ratio": ratio, "ours_per_s": 3.0, "peer_per_s": 1.0}
    line = everything.sampling_line(result)
    assert line.passed == passed
    assert everything.table([line]).row_count == 1


@pytest.mark.parametrize(("ratio", "passed"), [(5.0, True), (4.99, False)])
def test_a_missed_floor_of_policy_gradients_fails(ratio: float, passed: bool) -> None:
    result = {
        "dtype": "fp32",
        "peer": "trl RLOOTrainer",
        "ratio": ratio,
        "ours_per_s": 3.0,
        "peer_per_s": 0.6,
    }
    line = everything.rl_line({**result, "ours_peak_mb": 250.0, "peer_peak_mb": 1000.0})
    assert line.passed == passed
    assert "0.25" in line.cells
    assert everything.table([line]).row_count == 1


def test_both_sides_of_sampling_do_the_same_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of different lengths; a stop token that comes at once ends every reply of either side after one token."""
    monkeypatch.setattr(sampling, "LONGEST", 6)
    tokenizer = make_tokenizer()
    model = make_llama(tokenizer).eval()
    prompts = [np.arange(3, 3 + n, dtype=np.int32) for n in (9, 4, 12)]
    everything_stops = sampling.Task(model, prompts, list(range(len(tokenizer))))
    none_stops = sampling.Task(model, prompts, [])
    for task, length in ((everything_stops, 1), (none_stops, 6)):
        ours = sampling.ours(task, 1)
        theirs = sampling.generate(task, 1, 2)
        assert [len(ids) for ids in ours] == [len(ids) for ids in theirs] == [length] * 3 * sampling.N


@pytest.mark.long
@pytest.mark.parametrize("peer", ["separate", "trl"])
def test_both_sides_compute_the_same(peer: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Eight pairs, three steps: log-probabilities agree before and after training, tokens are the same."""
    if peer == "trl":
        pytest.importorskip("trl")
    monkeypatch.setenv("HALIGN_CACHE", str(tmp_path))
    match = Match(
        "conversations",
        peer,
        threads=1,
        repeats=1,
        items=8,
        batch_items=4,
        peer_size=4096 if peer != "trl" else 2,
    )
    result = duel.play(match)
    assert result["flat_tokens"] == result["peer_flat_tokens"] > result["distinct_tokens"]
    assert result["agreement"]["first_step"] < 1e-3
    assert result["agreement"]["last_step"] < 1e-2 < result["agreement"]["moved"]
    assert result["ours_per_s"] > 0 < result["ours_peak_mb"]
    json.dumps(result)


@pytest.mark.parametrize(("name", "passed"), [("bbh", False), ("letters", True)])
def test_multiple_choice_has_a_floor_where_contexts_are_shared(name: str, passed: bool) -> None:
    result = {
        "workload": name,
        "peer": "lm_eval hf",
        "ratio": 2.9,
        "ours_per_s": 2.9,
        "peer_per_s": 1.0,
        "distinct_tokens": 10,
        "flat_tokens": 90,
    }
    assert everything.harness_line(result).passed == passed
    assert everything.harness_line({**result, "ratio": 3.0}).passed


def test_multiple_choice_without_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HALIGN_DATA", str(tmp_path))
    assert harness.available() == ["replies"]
    (pairs,) = harness.questions("replies", 1)
    assert len(pairs) == 4
    assert len({context for context, _ in pairs}) == 1
    assert len({reply for _, reply in pairs}) == 4
    assert pairs[0][0].endswith("\nAssistant:")
    mine, theirs = [(-1.0, True), (-2.0, False)], [(-1.5, True), (-2.0, True)]
    assert harness.agreement(mine, theirs) == {"largest": 0.5, "greedy_differ": 1, "mean": -1.5}


def test_a_missing_peer_is_said_before_the_first_measurement(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.all.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["benchmarks.all"])
    with pytest.raises(SystemExit):
        everything.main()
    assert "--no-harness" in capsys.readouterr().err
