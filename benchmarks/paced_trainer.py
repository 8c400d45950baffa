"""What TRL's trainers are timed by."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from benchmarks.pacing import Pacer


class Paced(TrainerCallback):
    """Hears of every step that is done, and keeps its figures (the trainer forgets them at the end)."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.trainer: Any = None
        self.metrics: dict[str, list[float]] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.pacer.window.total:
            self.metrics = {k: list(v) for k, v in self.trainer._metrics["train"].items()}
        self.pacer.step_done(state.global_step)
