"""What is looked at while a run goes on: limits the user set, a wish to stop, and where its figures are shown."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from halign.train_settings import TrainSettings

Row = dict[str, Any]

DISPLACED = 5.0
"""Nats that the chosen responses may lose against the reference before the user is told."""


LOG_RATIOS = (
    "chosen_logratio",
    "rejected_logratio",
    "desirable_logratio",
    "undesirable_logratio",
    "best_logratio",
)
"""Mean log-ratios to the reference that a step's row may hold."""


def _chosen(row: Row) -> float:
    """Log-ratio of what was chosen or is best, nats; 0 where there is none."""
    return float(row["chosen_logratio"] if "chosen_logratio" in row else row.get("best_logratio", 0.0))


class Watch:
    """Warns of what goes wrong quietly, once, and says when a limit of the user's is reached."""

    def __init__(self, settings: TrainSettings, warn: Callable[[str], None]) -> None:
        self.settings, self.warn = settings, warn
        self.warned = False

    def __call__(self, row: Row) -> str:
        """Look at a step's row; why the run has to stop, or ""."""
        chosen = _chosen(row)
        if not self.warned and chosen < -DISPLACED:
            self.warned = True
            self.warn(
                f"step {row['step']}: the chosen responses are {-chosen:.1f} nats less likely than under the "
                "reference (likelihood displacement); an SFT term (dpo+0.2*sft) or a lower learning rate prevents it"
            )
        return self._limit_reached(row)

    def _limit_reached(self, row: Row) -> str:
        s = self.settings
        if s.stop_below and _chosen(row) < -s.stop_below:
            return f"chosen log-ratio {_chosen(row):.2f} nats is below -{s.stop_below} (stop_below)"
        ratios = [row[k] for k in LOG_RATIOS if k in row]
        if s.stop_drift and any(abs(r) > s.stop_drift for r in ratios):
            return f"a mean log-ratio left +-{s.stop_drift} nats (stop_drift)"
        return ""


@contextlib.contextmanager
def stop_asked(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """While it lasts, the first Ctrl-C (or SIGTERM) is kept and the second breaks off; gives what tells whether one came."""
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        say("stopping after this step; once more breaks off without saving")

    try:
        before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever runs us handles signals
        before = {}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def tensorboard(folder: Path | None) -> Iterator[Callable[[Row], None]]:
    """A function that sends a row's numbers to TensorBoard; one that does nothing without a folder."""
    if folder is None:
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with contextlib.closing(SummaryWriter(str(folder))) as writer:

        def send(row: Row) -> None:
            for name, value in row.items():
                if isinstance(value, float):
                    writer.add_scalar(f"{row['split']}/{name}", value, row["step"])

        yield send
