"""The peers' best sizes on this machine: `python -m benchmarks.tune [--workload W] [--dtype D]`.

Times one optimiser step at several micro-batches (TRL) and tokens per pack (separate paths), each in a
process of its own, best of two after a warm-up step. What it finds belongs into
``benchmarks.duel.PEER_SIZE``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import get_args

from rich.console import Console

from benchmarks import workloads
from benchmarks.duel import Dtype, Match, Peer
from benchmarks.pacing import Side, Window
from benchmarks.workloads import Workload

SIZES: dict[Peer, tuple[int, ...]] = {"trl": (1, 2, 4, 8, 16), "separate": (512, 1024, 2048, 4096, 8192)}

console = Console(highlight=False)


def sweep(
    workload: Workload, peer: Peer, dtype: Dtype, threads: int = 0, sampling: str = "sequential"
) -> Iterator[tuple[int, float]]:
    """(size, pairs per second) of each size."""
    for size in SIZES[peer]:
        match = Match(workload, peer, dtype, threads, peer_size=size)
        match = replace(match, items=match.batch).filled()
        window = Window(1, 1, 2)
        spec = {
            "side": peer,
            "model": str(workloads.model(workload)),
            "rows": str(workloads.write(workloads.rows(workload, match.items))),
            "threads": match.threads,
            "dtype": dtype,
            "reference": "cached",
            "batch_items": match.batch_items,
            "learning_rate": 1e-4,
            "size": match.peer_size,
            "sampling": sampling,
            "window": asdict(window),
        }
        side = Side(spec)
        try:
            side.read()
            best = min(side.go()["seconds"] for _ in range(window.repeats))
        finally:
            side.close()
        yield size, match.items / best


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument(
        "--workload", choices=get_args(Workload), nargs="+", default=["conversations", "pairs"]
    )
    parser.add_argument("--peer", choices=get_args(Peer), nargs="+", default=list(get_args(Peer)))
    parser.add_argument("--dtype", choices=get_args(Dtype), nargs="+", default=list(get_args(Dtype)))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--sampling", default="sequential", help="TRL's train_sampling_strategy")
    given = parser.parse_args()
    for workload in given.workload:
        for peer in given.peer:
            for dtype in given.dtype:
                found = list(sweep(workload, peer, dtype, given.threads, given.sampling))
                best = max(found, key=lambda pair: pair[1])[0]
                rates = "  ".join(f"{size}: {rate:.1f}" for size, rate in found)
                console.print(f"{workload} {peer} {dtype}  pairs/s by size  {rates}  [bold]best {best}[/]")


if __name__ == "__main__":
    main()
