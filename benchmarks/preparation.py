"""Data preparation against TRL's: `python -m benchmarks.preparation`.

Ours: read the file, render, tokenise, plan an epoch, and build every batch's tensors. TRL's: read the
file, do what DPOTrainer does to a data set (``_prepare_dataset``: ``dataset.map`` of template and
tokenizer; one process, nothing cached), and collate every batch. The same rows; both in this process, in
turns, after one round to warm up; medians.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import workloads
from benchmarks.workloads import WORKLOADS, Workload

console = Console(highlight=False)
BATCH = 64


def ours(rows: str, model: Any) -> int:
    """Pairs prepared by halign."""
    import halign as hl
    from halign.config import resolve
    from halign.plan import Plan
    from halign.prepare import prepare
    from halign.trie import tree_batch

    config = resolve("dpo", {"batch_items": BATCH})
    items = prepare(model, hl.read(rows), None, config).train
    plan = Plan(items, batch_items=BATCH, max_tokens=config.train.max_tokens or 0, flat=True)
    for index in range(plan.steps):
        for pack in plan.step(index).packs[0]:
            tree_batch(plan.paths(pack), flat=True)
    return len(items)


def trl(rows: str, model: Any) -> int:
    """Pairs prepared by TRL."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    config = DPOConfig(output_dir="unused", use_cpu=True, bf16=False, max_length=None, report_to="none")
    prepare = DPOTrainer._prepare_dataset
    holder = DPOTrainer.__new__(DPOTrainer)
    holder._tokenizer = model.tokenizer
    dataset = prepare(holder, Dataset.from_json(rows, keep_in_memory=True), model.tokenizer, config, "train")
    collate = DataCollatorForPreference(pad_token_id=model.tokenizer.pad_token_id)
    columns = dataset.select_columns(["prompt_ids", "chosen_ids", "rejected_ids"])
    for start in range(0, len(dataset), 4):
        collate([columns[i] for i in range(start, min(start + 4, len(dataset)))])
    return len(dataset)


def measure(workload: Workload, items: int, repeats: int = 3) -> dict[str, Any]:
    """Pairs per second of both, and their ratio."""
    from datasets import disable_caching, disable_progress_bars

    import halign as hl

    disable_caching()
    disable_progress_bars()
    model = hl.load(workloads.model(workload))
    rows = str(workloads.write(workloads.rows(workload, items)))
    seconds: dict[Callable[[str, Any], int], list[float]] = {ours: [], trl: []}
    for repeat in range(repeats + 1):
        for side, times in seconds.items():
            gc.collect()
            started = time.perf_counter()
            assert side(rows, model) == items
            if repeat:
                times.append(time.perf_counter() - started)
    ours_s, trl_s = (statistics.median(times) for times in seconds.values())
    return {
        "benchmark": "preparation",
        "workload": workload,
        "peer": "trl",
        "items": items,
        "ours_per_s": round(items / ours_s, 1),
        "peer_per_s": round(items / trl_s, 1),
        "ratio": round(trl_s / ours_s, 2),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preparation", description=__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, nargs="+", default=["conversations", "pairs"])
    parser.add_argument("--items", type=int, default=1600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    results = [measure(workload, given.items, given.repeats) for workload in given.workload]
    for r in results:
        console.print(
            f"preparation {r['workload']}: ours {r['ours_per_s']:,.0f} pairs/s, "
            f"trl {r['peer_per_s']:,.0f} pairs/s, [bold]{r['ratio']:.1f}x[/]  (load {r['load_average']:.2f})"
        )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
