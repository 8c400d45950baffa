"""Halign's side: the trainer as users run it; ``separate``: one row per path, padded, sorted by length."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import halign as hl
from benchmarks.duel import LOGPS
from benchmarks.pacing import Pacer
from halign.config import resolve
from halign.progress import Display
from halign.run_folder import RunFolder
from halign.training import Trainer


class _Paced(Display):
    """Hears of every step that is done."""

    def __init__(self, pacer: Pacer) -> None:
        super().__init__(quiet=True)
        self.pacer = pacer
        self.name = ""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        self.name = name
        super().phase(name, total, done)

    def advance(self, done: int, total: int, note: str = "") -> None:
        if self.name == "training":
            self.pacer.step_done(done)


def run(spec: dict[str, Any], pacer: Pacer) -> None:
    """Load, train in windows, report."""
    policy = hl.load(spec["model"])
    examples = hl.read(spec["rows"])
    pacer.loaded()
    settings = {
        "learning_rate": spec["learning_rate"],
        "schedule": "constant",
        "warmup": 0,
        "shuffle": "none",
        "batch_items": spec["batch_items"],
        "max_tokens": spec["size"] or None,
        "dtype": spec["dtype"],
        "separate": spec["side"] == "separate",
        "reference": {"cached": "cached", "live": "frozen"}[spec["reference"]],
        "tensorboard": False,
    }
    with tempfile.TemporaryDirectory() as folder, _Paced(pacer) as display:
        output = RunFolder(Path(folder) / "run")
        trainer = Trainer(
            policy, list(examples), None, resolve(spec["objective"], settings), output, display, {}
        )
        trainer.run()
        peak = pacer.peak_mb()
        steps = [row for row in output.metrics() if row["split"] == "train"]
    pacer.finish(
        {
            **peak,
            "losses": [row["loss"] for row in steps],
            **{k: [row[k] for row in steps] for k in LOGPS if k in steps[0]},
            "flat_tokens": sum(item.tokens for item in trainer.prepared.train),
            "distinct_tokens": round(sum(row["tokens"] for row in steps)),
            "parameters": sum(p.numel() for p in policy.model.parameters()),
        }
    )
