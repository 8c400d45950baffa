"""Halign's side of ``benchmarks.rl``: the loop as users run it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import halign as hl
from benchmarks.pacing import Pacer
from benchmarks.rl import grade
from halign.dialogue import Dialogue, Message
from halign.examples import Preference
from halign.loops import registry
from halign.loops.contract import Task
from halign.loops.online import Online
from halign.loops.rloo import LOOP, Rloo
from halign.progress import Display
from halign.run_folder import RunFolder


class _Paced(Display):
    """Hears of every iteration that is done."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__(quiet=True)
        self.pacer = pacer
        self.name = ""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        self.name = name
        super().phase(name, total, done)

    def advance(self, done: int, total: int, note: str = "") -> None:
        if self.name == "rloo":
            self.pacer.step_done(done)


class _Short:
    def score(self, prompts: Any, replies: Any) -> list[float]:
        return [grade(reply) for reply in replies]


def run(spec: dict[str, Any], pacer: Pacer) -> None:
    """Load, learn in windows, report."""
    import contextlib

    policy = hl.load(spec["model"])
    rows = [json.loads(line) for line in Path(spec["rows"]).read_text().splitlines()]
    said = Message("assistant", "-")
    examples = [Preference(Dialogue.of(r["prompt"]), said, said, str(i)) for i, r in enumerate(rows)]
    pacer.loaded()
    settings = registry.resolve(
        LOOP,
        {
            "iterations": pacer.window.total,
            "prompts": spec["prompts"],
            "samples": spec["samples"],
            "max_new_tokens": spec["max_new_tokens"],
            "dtype": spec["dtype"],
            "learning_rate": 1e-6,
            "beta": 0.05,
            "samples_every": 10**6,
            "tensorboard": False,
        },
    )
    with tempfile.TemporaryDirectory() as folder, _Paced(pacer) as display, contextlib.ExitStack() as undo:
        output = Path(folder) / "run"
        task = Task(policy, examples, settings, output, reward=_Short(), quiet=True)
        Online(Rloo(settings), task, display, undo).run()
        peak = pacer.peak_mb()
        metrics = RunFolder(output).metrics()
    mean = {k: sum(r[k] for r in metrics) / len(metrics) for k in ("length", "finished")}
    pacer.finish({**peak, **mean})
