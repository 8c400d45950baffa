"""Loops run on however many ranks this process is one of, and what each rank saw; started by ``test_ranks``, alone and as two.

torchrun --nproc-per-node=2 -m tests.loops.on_ranks START ANSWERING OUTPUT
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from halign.errors import HalignError
from halign.loops import online, round_job, run
from halign.loops.online import Online
from halign.loops.rollouts import Collector
from halign.models import load
from halign.readers import read
from halign.rewards.facts import Facts
from halign.rewards.protocol import LearnedReward
from halign.rewards.starting import from_causal
from halign.stepping import Stepper
from tests.conftest import conversation_rows
from tests.loops.answering import COMMON, TRAIN, Says, demonstrations

SMALL: dict[str, Any] = {
    "iterations": 2,
    "prompts": 3,
    "samples": 2,
    "max_new_tokens": 5,
    "optimizer": "sgd",  # Adam divides by tiny second moments, which turns rounding into steps of full size
    "learning_rate": 0.05,
    "quiet": True,
    "tensorboard": False,
}
PPO: dict[str, Any] = {
    "target_kl": 0.01,
    "kl_horizon": 20.0,
    "pretrain_weight": 0.5,
    "pretrain_items": 3,
    "shift_rewards": True,
    "whiten_rewards": True,
    "minibatches": 2,
    "critic_learning_rate": 1e-3,
}
WHOLE: dict[str, Any] = {"gradient_clip": None, "learning_rate": 0.007}
"""A clipped gradient is the same whatever it is multiplied by."""
GRADIENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ppo": ("ppo", {**PPO, **WHOLE, "max_tokens": 80}),
    "critic": (
        "ppo",
        {"critic": "separate", "critic_learning_rate": 1e-4, "lora_rank": 2, "epochs": 2, "prompts": 4},
    ),
    "grpo": ("grpo", {**WHOLE, "prompts": 1, "samples": 4, "scale": "batch"}),
    "stopped": ("rloo", {"epochs": 5, "minibatches": 3, "stop_kl": 1e-3}),
}
ROUNDS: dict[str, Any] = {
    **COMMON,
    "rounds": 2,
    "prompts": 11,  # the last chunk is of one prompt, so one of two ranks has none of it
    "samples": 3,
    "chunk": 5,
    "train": {**TRAIN, "batch_items": 4, "optimizer": "sgd", "learning_rate": 0.1},
}
RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


class Vowels:
    """Share of vowels; notes how many replies it was asked about."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, prompts: Any, replies: Any) -> list[float]:
        self.asked += len(replies)
        return [sum(c in "aeiou" for c in r) / (1 + len(r)) for r in replies]


class FailsOnTheLastRank:
    def score(self, prompts: Any, replies: Any) -> list[float]:
        if RANK == RANKS - 1:
            raise ConnectionError("no answer")
        return [0.0] * len(replies)


def gradient(name: str, start: Path, output: Path) -> dict[str, Any]:
    """One of ``GRADIENTS``, and what this rank saw of it."""
    loop, more = GRADIENTS[name]
    reward: Any = Vowels()
    if name == "critic":
        reward = LearnedReward(from_causal(load(start), Facts(bias=-1.5), seed=3))
    with recorded() as seen:
        found = run(
            loop,
            load(start),
            read(conversation_rows(2)),
            output=output,
            reward=reward,
            evaluation=read(conversation_rows(3, turns=1, seed=5)) if name == "ppo" else None,
            **SMALL | more,
        )
    weights = {n: p.detach().clone() for n, p in found.policy.model.named_parameters()}
    return {**seen, "weights": weights, "asked": getattr(reward, "asked", None)}


@contextlib.contextmanager
def recorded() -> Iterator[dict[str, Any]]:
    """Replies and their worth, gradients of every step, and how work was spread."""
    seen: dict[str, Any] = {"drawn": [], "rollouts": [], "gradients": [], "packs": []}
    draw, learn, step = Collector.draw, Online._learn, Stepper.gradients

    def note_draw(self: Any, *given: Any) -> Any:
        found = draw(self, *given)
        seen["drawn"].append(len(found))
        return found

    def note_learn(self: Any, index: int, rollouts: Any, row: Any) -> Any:
        seen["rollouts"].append([as_noted(r) for r in rollouts])
        return learn(self, index, rollouts, row)

    def note_step(self: Any, plan: Any, step_: Any) -> Any:
        found = step(self, plan, step_)
        seen["packs"].append([len(share) for share in step_.packs])
        named = self.scorer.named_parameters()
        seen["gradients"].append(
            {n.removeprefix("module."): p.grad.clone() for n, p in named if p.grad is not None}
        )
        return found

    with (
        patch.object(Collector, "draw", note_draw),
        patch.object(Online, "_learn", note_learn),
        patch.object(Stepper, "gradients", note_step),
    ):
        yield seen


def as_noted(r: Any) -> dict[str, Any]:
    """A reply as plain values: what it is, and the numbers that must agree up to rounding."""
    numbers = {"score": np.array([r.score]), "weight": np.array([r.weight]), **r.learnt}
    numbers |= {"logps": r.logps, "ref_logps": r.ref_logps, "entropy": r.entropy}
    if r.values is not None:
        numbers["values"] = r.values
    return {
        "reply": (r.group, r.prompt.conversation, r.path.ids.tolist(), r.text, r.finished),
        "numbers": numbers,
    }


@contextlib.contextmanager
def stopped_in(module: Any, owner: Any, method: str, call: int) -> Iterator[None]:
    """Ctrl-C on the last rank alone, from this call of a method on."""
    original: Callable[..., Any] = getattr(owner, method)
    calls = 0

    def counted(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        return original(*given, **named)

    @contextlib.contextmanager
    def asked(say: Any) -> Iterator[Callable[[], bool]]:
        yield lambda: calls >= call and RANK == RANKS - 1

    with patch.object(owner, method, counted), patch.object(module, "stop_asked", asked):
        yield


def said(work: Callable[[], Any]) -> str:
    """The error that some work ends with; empty if it ends well."""
    try:
        work()
    except (HalignError, ConnectionError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def resumed(start: Path, output: Path) -> dict[str, str]:
    """A policy gradient run through, and stopped and resumed."""

    def go(folder: str) -> Any:
        more: dict[str, Any] = {**SMALL, **PPO, "iterations": 3, "optimizer": "adamw", "learning_rate": 1e-3}
        return run(
            "ppo",
            load(start),
            read(conversation_rows(2)),
            output=output / folder,
            reward=Vowels(),
            **more,
        )

    go("whole")
    with stopped_in(online, Online, "_iterate", 2):
        first = said(lambda: go("cut"))
    return {"first": first, "then": said(lambda: go("cut"))}


def rounds(name: str, answering: Path, output: Path, **more: Any) -> Any:
    """One of the loops of rounds."""
    data, held = demonstrations(24, "yes", start=200), demonstrations(7, start=500)
    given = {"reward": Says(), "evaluation": held, **ROUNDS, **more}
    return run(name, load(answering), data, output=output, **given)


def rounds_resumed(answering: Path, output: Path) -> dict[str, str]:
    """Rounds stopped after the first chunk of the second round's prompts, and resumed."""
    # the last rank's draws: two chunks held out, two of prompts, two held out, and then the first of the second round
    with stopped_in(round_job, round_job.Job, "_draw", 2 + 2 + 2 + 1):
        first = said(lambda: rounds("raft", answering, output))
    return {"first": first, "then": said(lambda: rounds("raft", answering, output))}


def everything(start: Path, answering: Path, output: Path) -> dict[str, Any]:
    """What this rank saw of all of it."""
    found: dict[str, Any] = {name: gradient(name, start, output / name) for name in GRADIENTS}
    rounds("raft", answering, output / "raft")
    rounds("online_dpo", answering, output / "online_dpo", start="first", mix=1, samples=2)
    if RANKS > 1:
        found["resumed"] = resumed(start, output / "resumed")
        found["rounds_resumed"] = rounds_resumed(answering, output / "raft_resumed")
        failing: Any = {"reward": FailsOnTheLastRank()}
        found["failed"] = said(
            lambda: run(
                "rloo",
                load(start),
                read(conversation_rows(2)),
                output=output / "failed",
                **SMALL,
                **failing,
            )
        )
        found["rounds_failed"] = said(lambda: rounds("raft", answering, output / "raft_failed", **failing))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    to = Path(sys.argv[3])
    torch.save(everything(Path(sys.argv[1]), Path(sys.argv[2]), to), to / f"rank{RANK}.pt")
