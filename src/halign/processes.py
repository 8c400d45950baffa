"""The processes of a run (``accelerate launch`` starts several): their number, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType, gather_object

from halign import measures
from halign.errors import HalignError
from halign.models import Policy

T = TypeVar("T")
IN_PARTS = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
"""Ways of distributing a model that leave each rank a part of it."""


def launched() -> int:
    """How many processes the launcher says there are; 1 without a launcher. Nothing has to be set up yet."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def speaks() -> bool:
    """True in the process that shows what is going on, by the launcher's word; nothing has to be set up yet."""
    return os.environ.get("RANK", "0") == "0"


def make_accelerator(dtype: str) -> Accelerator:
    """An accelerator of this precision, whatever one was made before in this process."""
    AcceleratorState._reset_state()
    # a language model's buffers are constants; sending them before a forward pass would make every rank wait for all others'
    # passes, of which there need not be as many
    alone = DistributedDataParallelKwargs(broadcast_buffers=False)
    return Accelerator(mixed_precision="bf16" if dtype == "bf16" else "no", kwargs_handlers=[alone])


def put_on_device(policy: Policy, accelerator: Accelerator) -> None:
    """The policy where it will compute, before anything is measured on it. FSDP and DeepSpeed place its parts themselves."""
    if accelerator.distributed_type not in IN_PARTS:
        policy.move(accelerator.device)


def check_whole(accelerator: Accelerator, name: str) -> None:
    """Whether every rank holds the whole model, which it has to where it samples by itself.

    Raises:
        HalignError: naming what distributes the model, and the way out.
    """
    if accelerator.distributed_type in IN_PARTS:
        raise HalignError(
            f"{name} samples, and with {accelerator.distributed_type.value} no rank has a whole model to sample from: launch it "
            "without (accelerate launch --multi_gpu, or torchrun); lora_rank, gradient_checkpointing and a smaller max_tokens "
            "save memory"
        )


class Processes:
    """This process among all of the run's.

    Args:
        accelerator: of the run; None: this process is alone.

    Attributes:
        rank: its number, from 0.
        ranks: how many there are.
        main: True on the one that writes.
    """

    def __init__(self, accelerator: Accelerator | None = None) -> None:
        self.rank = accelerator.process_index if accelerator else 0
        self.ranks = accelerator.num_processes if accelerator else 1
        self.main = self.rank == 0

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

    def share(self, count: int) -> range:
        """This rank's part of ``count`` things in a row: places side by side, on the first ranks one more where it does not
        come out even."""
        each, more = divmod(count, self.ranks)
        start = self.rank * each + min(self.rank, more)
        return range(start, start + each + (self.rank < more))

    def shared(self, count: int, do: Callable[[range], list[T]]) -> list[T]:
        """What ``do`` makes of every rank's share of ``count`` things, in order, on every rank. Nothing is done for no things.

        Raises:
            HalignError: as ``alike``.
        """
        mine = self.share(count)
        return [one for part in self.alike(lambda: do(mine) if mine else []) for one in part]

    def by_main(self, do: Callable[[], T]) -> T:
        """What ``do`` gives in the main process, on every rank. The others wait for it.

        Raises:
            HalignError: as ``alike``.
        """
        found: Any = self.alike(lambda: do() if self.main else None)[0]
        return found

    def alike(self, do: Callable[[], T]) -> list[T]:
        """What ``do`` gives on every rank, in their order. It may not wait for other ranks itself.

        Raises:
            HalignError: on the others, where it fails on one: none is left waiting for ever.
        """
        if self.ranks == 1:
            return [do()]
        failure: Exception | None = None
        found: list[tuple[Any, str]]
        try:
            found = [(do(), "")]
        except Exception as error:
            failure = error
            found = [(None, f"{type(error).__name__}: {error}")]
        every = self.gathered(found)
        if failure is not None:
            raise failure
        for rank, (_, trouble) in enumerate(every):
            if trouble:
                raise HalignError(f"rank {rank} failed: {trouble}")
        return [value for value, _ in every]
