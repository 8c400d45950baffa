"""What a step spends on anything but the model: `python -m benchmarks.overhead`.

A step of the trainer against the bare work on the same batches: forward, log-probabilities, backward,
clipping, optimiser. The rest is planning, tries, objectives, measures and logging. Processor time of one
thread, the least of several.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console

import halign as hl
from benchmarks import workloads
from benchmarks.duel import Dtype, Match
from benchmarks.workloads import WORKLOADS, Workload
from halign.config import resolve
from halign.objectives import find
from halign.progress import Display
from halign.run_folder import RunFolder
from halign.training import Trainer

OBJECTIVES = ("dpo", "ipo", "kto_pair", "preferred_ft")

console = Console(highlight=False)


def measure(workload: Workload, dtype: Dtype, objective: str, repeats: int = 5) -> dict[str, Any]:
    """Seconds of a step and of its bare work, and the share of the step that is none of it."""
    kind = find(objective).kind
    count = Match(workload, "separate" if kind == "lists" else "trl").batch
    policy = hl.load(workloads.model(workload))
    rows = workloads.rows(workload, count)
    examples = hl.read(str(workloads.write(rows if kind == "lists" else workloads.as_pairs(rows)[:count])))
    settings: dict[str, Any] = {"batch_items": count, "dtype": dtype, "shuffle": "none", "tensorboard": False}
    with tempfile.TemporaryDirectory() as folder:
        config, output = resolve(objective, settings), RunFolder(Path(folder) / "run")
        trainer = Trainer(policy, list(examples), None, config, output, Display(quiet=True), {})
        trainer.folder.start(trainer.record)
        trainer._set_up_model()
        trainer._set_up_plans()
        trainer._set_up_reference()
        batches = [trainer.batch(trainer.plan, pack) for pack in trainer.plan.step(0).packs[0]]

        def bare() -> None:
            for batch in batches:
                trainer.accelerator.backward(trainer.scorer(batch).logps.mean())
            trainer.accelerator.clip_grad_norm_(trainer.stepper.trainable, 1.0)
            for optimizer in trainer.stepper.optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)

        def step() -> None:
            trainer._step(trainer.plan.step(0))

        step()
        work, whole = _least([bare, step], repeats)
    return {
        "benchmark": "overhead",
        "workload": workload,
        "objective": objective,
        "dtype": dtype,
        "step_s": round(whole, 4),
        "bare_s": round(work, 4),
        "overhead": round(max(0.0, 1 - work / whole), 4),
    }


def _least(calls: list[Callable[[], None]], repeats: int) -> list[float]:
    """Least processor time of each call; they take turns."""
    found = [float("inf")] * len(calls)
    for _ in range(repeats):
        for i, call in enumerate(calls):
            started = time.process_time()
            call()
            found[i] = min(found[i], time.process_time() - started)
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, nargs="+", default=["conversations", "pairs"])
    parser.add_argument("--dtype", choices=get_args(Dtype), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--objective", nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = [measure(w, d, o) for w in given.workload for d in given.dtype for o in given.objective]
    for r in results:
        console.print(
            f"{r['workload']} {r['objective']} {r['dtype']}: step {r['step_s'] * 1e3:.0f} ms, "
            f"model and optimiser {r['bare_s'] * 1e3:.0f} ms, overhead [bold]{r['overhead']:.1%}[/]"
        )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
