"""The processes of a run (``accelerate launch`` starts several): their number, and what they tell each other."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, gather_object

from halign import measures


def make_accelerator(dtype: str) -> Accelerator:
    """An accelerator of this precision, whatever one was made before in this process."""
    AcceleratorState._reset_state()
    # a language model's buffers are constants; sending them before a forward pass would make every rank wait for all others'
    # passes, of which there need not be as many
    alone = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(mixed_precision="bf16" if dtype == "bf16" else "no", kwargs_handlers=[alone])


class Processes:
    """This process among all of the run's.

    Attributes:
        rank: its number, from 0.
        ranks: how many there are.
        main: True on the one that writes.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.rank, self.ranks = accelerator.process_index, accelerator.num_processes
        self.main = accelerator.is_main_process

    def gathered(self, parts: list[Any]) -> list[Any]:
        """The lists of all ranks, one after the other."""
        found: list[Any] = gather_object(parts) if self.ranks > 1 else parts
        return found

    def reduced(self, sums: measures.Sums) -> measures.Sums:
        """Sums over all ranks."""
        return measures.total(self.gathered([sums]))

    def agreed(self, flag: bool) -> bool:
        """True on every rank if it is true on any."""
        return any(self.gathered([flag]))
