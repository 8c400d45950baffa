"""The driver: killed anywhere it comes to the same files and weights; what it refuses; what it writes down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from halign.errors import HalignError
from halign.loops import run
from halign.loops.round_files import Chunked
from halign.loops.round_job import Job
from halign.models import Policy, load
from halign.processes import Processes
from halign.readers import read
from halign.rewards.protocol import ByReward
from halign.run_folder import RunFolder
from halign.sampling import TransformersSampler
from halign.training import Interrupted, Trainer, train
from tests.conftest import make_llama
from tests.loops.answering import COMMON, TRAIN, Says, demonstrations

SETTINGS: dict[str, Any] = {
    **COMMON,
    "rounds": 2,
    "prompts": 12,
    "samples": 3,
    "chunk": 5,
    "train": {**TRAIN, "save_every": 1, "batch_items": 4},
}
DATA, HELD = demonstrations(24, "yes", start=200), demonstrations(8, start=500)


def go(name: str, model: Path, output: Path, **more: Any) -> Any:
    given = {"reward": Says(), "evaluation": HELD, **SETTINGS, **more}
    return run(name, load(model), DATA, output=output, **given)


def kept(output: Path) -> dict[str, Any]:
    """Everything that must not depend on when the process died: rows, examples, replies, and weights."""
    found: dict[str, Any] = {
        str(path.relative_to(output)): path.read_text() for path in sorted(output.glob("rounds/*/*.jsonl"))
    }
    for name in ("metrics.jsonl", *(f"rounds/{n}/run/metrics.jsonl" for n in (1, 2))):
        rows = [json.loads(line) for line in (output / name).read_text().splitlines()]
        found[name] = [{k: v for k, v in row.items() if k not in ("seconds", "tokens_per_s")} for row in rows]
    for path in sorted(output.glob("**/*.safetensors")):
        found[str(path.relative_to(output))] = {k: v.tolist() for k, v in load_file(path).items()}
    return found


class PowerCut(BaseException):
    """Nothing in the loop may catch it."""


def on_call(owner: Any, name: str, count: int, patch: pytest.MonkeyPatch, late: bool = False) -> None:
    """The process dies in the ``count``-th call of a method, before it did anything, or after."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count and not late:
            raise PowerCut
        result = original(*args, **kwargs)
        if calls == count:
            raise PowerCut
        return result

    patch.setattr(owner, name, dying)


CUTS = {
    "start evaluated": (TransformersSampler, "sample", 2, False),
    "sampling": (TransformersSampler, "sample", 4, False),
    "judging": (Says, "score", 5, True),
    "training": (Trainer, "_step", 2, False),
    "end of training": (RunFolder, "finish", 1, True),
    "row of round 1": (RunFolder, "log", 6, True),
    "sampling, round 2": (TransformersSampler, "sample", 10, False),
    "training, round 2": (Trainer, "_step", -2, False),
    "the end": (RunFolder, "finish", 3, False),
}


@pytest.fixture(scope="module")
def whole(answering: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("whole") / "run"
    go("online_dpo", answering, output)
    return kept(output)


@pytest.mark.parametrize("moment", CUTS)
def test_killed_anywhere_it_ends_alike(
    moment: str, whole: dict[str, Any], answering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, count, late = CUTS[moment]
    if count < 0:  # that many steps after the first round's
        count = len(whole["rounds/1/run/metrics.jsonl"]) - count
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        on_call(owner, name, count, patch, late)
        with pytest.raises(PowerCut):
            go("online_dpo", answering, output)
    assert not RunFolder(output).done
    torch.manual_seed(99)  # a new process would not be where the old one was
    go("online_dpo", answering, output)
    assert kept(output) == whole


@pytest.mark.parametrize("more", [{"start": "first", "mix": 1}, {"train": {**TRAIN, "lora_rank": 2}}])
def test_so_it_is_from_the_first_model_and_with_adapters(
    more: dict[str, Any], answering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go("online_dpo", answering, tmp_path / "whole", **more)
    with monkeypatch.context() as patch:
        on_call(TransformersSampler, "sample", 10, patch)
        with pytest.raises(PowerCut):
            go("online_dpo", answering, tmp_path / "cut", **more)
    go("online_dpo", answering, tmp_path / "cut", **more)
    assert kept(tmp_path / "cut") == kept(tmp_path / "whole")


def test_from_the_first_model_each_round_is_a_run_of_its_own(answering: Path, tmp_path: Path) -> None:
    """Round 2 is what training the given model on both rounds' examples gives."""
    go("spin", answering, tmp_path / "run", start="first", mix=1)
    rounds = tmp_path / "run" / "rounds"
    both = [*read(rounds / "1" / "data.jsonl"), *read(rounds / "2" / "data.jsonl")]
    train(load(answering), both, "spin", output=tmp_path / "own", quiet=True, **SETTINGS["train"])
    ours, own = (
        load_file(p / "model" / "model.safetensors") for p in (rounds / "2" / "run", tmp_path / "own")
    )
    assert all(torch.equal(ours[k], own[k]) for k in own)


def test_the_data_of_a_round_is_what_it_trained_on(answering: Path, tmp_path: Path) -> None:
    """Training again on data.jsonl, from the round's start, gives the round's weights."""
    ran = go("online_dpo", answering, tmp_path / "run")
    rounds = tmp_path / "run" / "rounds"
    start = load(rounds / "1" / "run")
    train(
        start,
        read(rounds / "2" / "data.jsonl"),
        "dpo",
        output=tmp_path / "own",
        quiet=True,
        **SETTINGS["train"],
    )
    own = load_file(tmp_path / "own" / "model" / "model.safetensors")
    for folder in (rounds / "2" / "run", tmp_path / "run"):
        ours = load_file(folder / "model" / "model.safetensors")
        assert all(torch.equal(ours[k], own[k]) for k in own)
    assert torch.equal(next(ran.policy.model.parameters()), next(start.model.parameters()))


def test_ctrl_c_is_heard_between_chunks_and_a_finished_run_does_nothing(
    answering: Path, tmp_path: Path
) -> None:
    import os
    import signal

    class Stopping(Says):
        def score(self, prompts: Any, replies: Any) -> list[float]:
            os.kill(os.getpid(), signal.SIGINT)
            return super().score(prompts, replies)

    with pytest.raises(Interrupted, match=r"stopped judging in round 1 after 5 of 12 prompts.*goes on"):
        go("raft", answering, tmp_path / "run", reward=Stopping(), evaluation=None)
    assert len((tmp_path / "run" / "rounds" / "1" / "judged.jsonl").read_text().splitlines()) == 5
    ran = go("raft", answering, tmp_path / "run", evaluation=None)
    silent = Says()
    assert go("raft", answering, tmp_path / "run", reward=silent, evaluation=None).metrics == ran.metrics
    assert silent.asked == 0
    assert [row["split"] for row in ran.metrics] == ["train", "train"]


def test_other_settings_or_data_on_an_unfinished_output_are_refused(
    answering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        on_call(TransformersSampler, "sample", 3, patch)
        with pytest.raises(PowerCut):
            go("raft", answering, tmp_path / "run")
    with pytest.raises(HalignError, match=r"other settings \(temperature: 1.0 -> 0.7\).*--overwrite"):
        go("raft", answering, tmp_path / "run", temperature=0.7)
    with pytest.raises(HalignError, match="prompts_fingerprint"):
        go("raft", answering, tmp_path / "run", evaluation=None)
    assert go("raft", answering, tmp_path / "run", temperature=0.7, overwrite=True).metrics
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(HalignError, match="no run folder"):
        go("raft", answering, tmp_path / "other")


def test_mistakes_are_named_before_anything_is_sampled(
    answering: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "run", lambda self: pytest.fail("it began"))
    for settings, says in (
        ({"train": {"learning_rat": 1}}, "learning_rate"),
        ({"train": {"label_smoothing": 0.6}}, "label_smoothing"),
        ({"objective": "reward"}, "trains a reward model"),
        ({"objective": "conditional"}, "rewrites its data"),
        ({"train": {"adapter": "adalora", "lora_rank": 4}}, "adapter=adalora"),
        ({"train": {"eval_share": 0.5}}, "eval_share"),
    ):
        with pytest.raises(HalignError, match=says):
            go("online_dpo", answering, tmp_path / "run", **settings)


def test_prompts_without_room_for_a_reply_are_named_before_anything_is_sampled(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Job, "run", lambda self: pytest.fail("it began"))
    policy = Policy(make_llama(tokenizer, max_position_embeddings=16), tokenizer, "memory")
    with pytest.raises(HalignError, match=r"prompt 0 has \d+ tokens, and the model has positions for 16"):
        run("raft", policy, DATA, reward=Says(), output=tmp_path / "run", **SETTINGS)


def test_replies_that_were_cut_off_teach_nothing(tokenizer: Any, tmp_path: Path) -> None:
    policy = Policy(make_llama(tokenizer), tokenizer, "memory")  # of random weights: it never stops
    with pytest.raises(HalignError, match=r"nothing to learn from: .* replies cut off at max_new_tokens"):
        run("raft", policy, DATA, reward=Says(), output=tmp_path / "run", **SETTINGS)


def test_a_policy_that_has_nothing_left_to_learn_is_finished(answering: Path, tmp_path: Path) -> None:
    class Fading(Says):
        """Prefers yes in the three chunks of round 1, and then nothing."""

        chunks = 0

        def score(self, prompts: Any, replies: Any) -> list[float]:
            self.chunks += 1
            scores = super().score(prompts, replies)
            return scores if self.chunks <= 3 else [0.0] * len(scores)

    ran = go(
        "online_dpo",
        answering,
        tmp_path / "run",
        reward=None,
        preferences=ByReward(Fading()),
        evaluation=None,
    )
    first, second = ran.metrics
    assert (second["examples"], second["exhausted"]) == (0, True)
    assert "exhausted" not in first
    assert not (tmp_path / "run" / "rounds" / "2" / "run").exists()
    ours, last = (
        load_file(tmp_path / "run" / p / "model" / "model.safetensors") for p in ("", "rounds/1/run")
    )
    assert all(torch.equal(ours[k], last[k]) for k in last)


def test_judges_that_give_nonsense_are_named(answering: Path, tmp_path: Path) -> None:
    class Broken:
        def __init__(self, *values: float) -> None:
            self.values = list(values)

        def score(self, prompts: Any, replies: Any) -> list[float]:
            return self.values * len(replies)

        def prefers(self, comparisons: Any) -> list[float]:
            return self.values * len(comparisons)

    for name, given, says in (
        ("raft", {"reward": Broken(float("nan"))}, "reward: nan came back"),
        ("raft", {"reward": Broken(0.0, 1.0)}, "reward: 30 numbers came back for 15"),
        ("sppo", {"preferences": Broken(1.5)}, "preferences: 1.5 came back where a probability"),
    ):
        with pytest.raises(HalignError, match=says):
            go(name, answering, tmp_path / says[:8], evaluation=None, overwrite=True, **given)


def test_no_reward_without_a_number_is_written_down(answering: Path, tmp_path: Path) -> None:
    """Held-out replies are graded before anything is learnt; the same call with a reward that works goes on."""

    class Broken:
        def score(self, prompts: Any, replies: Any) -> list[float]:
            return [float("nan")] * len(replies)

    with pytest.raises(HalignError, match="reward: nan came back where a finite number"):
        go("raft", answering, tmp_path / "run", reward=Broken())
    assert not (tmp_path / "run" / "rounds" / "0" / "evaluation.jsonl").exists()


def test_chunks_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    made: list[tuple[int, int]] = []

    def make(chunk: int, places: range) -> list[dict[str, int]]:
        assert chunk == places.start
        made.append((places.start, places.stop))
        return [{"n": n} for n in places]

    rows = Chunked(path, 7, 3, Processes()).fill(make, lambda done: None)
    assert made == [(0, 3), (3, 6), (6, 7)]
    complete = path.read_bytes()
    for cut in range(len(complete)):  # whatever of it had reached the disk
        path.write_bytes(complete[:cut])
        assert Chunked(path, 7, 3, Processes()).fill(make, lambda done: None) == rows
        assert path.read_bytes() == complete
