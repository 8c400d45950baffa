"""Sampling against ``model.generate``: `python -m benchmarks.sampling`.

64 prompts, 4 replies each, temperature 1, at most 128 new tokens, float32, on a CPU. Two models of random weights: a Llama of
3.6 million parameters as the care world has it, on that world's prompts, and one of 7 million on the prompts of the workload
``pairs``. They would hardly ever stop, so one token in 24 ends a reply, for both sides: lengths as of short answers. With
``--model`` any other, with its own stop tokens, on the care world's prompts.

``generate`` at its best: left padding, SDPA, prompts sorted by length, ``num_return_sequences=4``, and the fastest of several
batch sizes, found first. Both in this process, in turns; medians. Tokens count up to the stop token, which counts. With
one thread it is processor time that counts, so that others on the machine disturb little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from rich.console import Console

from benchmarks import workloads

Model = Literal["care", "pairs"]
PROMPTS, N, LONGEST, STOPS = 64, 4, 128, 24
BATCHES = (4, 8, 16)
"""Prompts at once that ``generate`` is tried with."""

console = Console(highlight=False)


@dataclass(frozen=True)
class Task:
    """What both sides do: reply to prompts (int32 ids) until one of the stop tokens."""

    model: Any
    prompts: list[np.ndarray]
    stop_ids: list[int]


def task(name: str) -> Task:
    """The model and the prompts of a name: ``care``, ``pairs``, or a model's folder."""
    import halign as hl
    from halign.dialogue import Dialogue
    from halign.likelihood import make_renderer
    from halign.worlds.care import generator
    from halign.worlds.care.base_model import SIZES, untrained

    if name == "pairs":
        policy = hl.load(workloads.model("pairs"))
        rows = workloads.rows("pairs", PROMPTS)
        asked = [Dialogue.of(row["prompt"]) for row in rows]
    else:
        policy = untrained(SIZES["demo"]) if name == "care" else hl.load(name)
        asked = generator.prompts(PROMPTS, split="test", seed=0)
    renderer = make_renderer(policy)
    prompts = [renderer.prompt(dialogue) for dialogue in asked]
    if name in get_args(Model):
        config: Any = policy.model.config
        stop_ids = list(range(5, config.vocab_size, STOPS))
    else:
        stop_ids = sorted(policy.stop_ids)
    return Task(policy.model.eval(), prompts, stop_ids)


def ours(task: Task, seed: int) -> list[list[int]]:
    """Replies by halign."""
    from halign.sampling.local import sample_ids
    from halign.sampling.settings import Settings

    settings = Settings(n=N, max_new_tokens=LONGEST, seed=seed)
    return [row.ids for row in sample_ids(task.model, task.prompts, task.stop_ids, settings)]


def generate(task: Task, seed: int, batch: int) -> list[list[int]]:
    """Replies by ``model.generate``, ``batch`` prompts at a time, longest prompts first."""
    torch.manual_seed(seed)
    made = []
    ordered = sorted(task.prompts, key=len, reverse=True)
    for start in range(0, len(ordered), batch):
        mine = ordered[start : start + batch]
        ids = torch.zeros(len(mine), len(mine[0]), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(mine):
            ids[row, -len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
            mask[row, -len(prompt) :] = 1
        out = task.model.generate(
            ids,
            attention_mask=mask,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            num_return_sequences=N,
            max_new_tokens=LONGEST,
            eos_token_id=task.stop_ids,
            pad_token_id=0,
        )
        made += [ended(row, task.stop_ids) for row in out[:, ids.shape[1] :].tolist()]
    return made


def ended(ids: list[int], stop_ids: Collection[int]) -> list[int]:
    """Up to and including the first stop token.

    >>> ended([7, 8, 2, 0, 0], [2])
    [7, 8, 2]
    """
    return next((ids[: i + 1] for i, token in enumerate(ids) if token in stop_ids), ids)


def _timed(side: Callable[[int], list[list[int]]], seed: int) -> tuple[float, list[int]]:
    """Tokens per second, and lengths."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    lengths = [len(ids) for ids in side(seed)]
    return sum(lengths) / (clock() - started), lengths


def measure(name: str, repeats: int = 3, threads: int = 0) -> dict[str, Any]:
    """Tokens per second of both, and their ratio."""
    if threads:
        torch.set_num_threads(threads)
    given = task(name)
    tried = {b: _timed(lambda seed, b=b: generate(given, seed, b), 0)[0] for b in BATCHES}  # type: ignore[misc]
    best = max(tried, key=lambda b: tried[b])
    sides: list[Callable[[int], list[list[int]]]] = [
        lambda seed: ours(given, seed),
        lambda seed: generate(given, seed, best),
    ]
    ours(given, 0)
    speeds: list[list[float]] = [[], []]
    lengths: list[list[int]] = [[], []]
    for repeat in range(repeats):
        for i, side in enumerate(sides):
            speed, written = _timed(side, repeat + 1)
            speeds[i].append(speed)
            lengths[i] += written
    mine, theirs = (statistics.median(s) for s in speeds)
    return {
        "benchmark": "sampling",
        "workload": name,
        "peer": "generate",
        "parameters": sum(p.numel() for p in given.model.parameters()),
        "prompt_tokens": round(statistics.mean(map(len, given.prompts)), 1),
        "reply_tokens": [round(statistics.mean(found), 1) for found in lengths],
        "peer_prompts_at_once": best,
        "threads": torch.get_num_threads(),
        "ours_per_s": round(mine, 1),
        "peer_per_s": round(theirs, 1),
        "ratio": round(mine / theirs, 2),
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sampling", description=__doc__)
    parser.add_argument("--model", nargs="+", default=list(get_args(Model)), help="care, pairs, or a folder")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    results = []
    for name in given.model:
        r = measure(name, given.repeats, given.threads)
        results.append(r)
        console.print(
            f"sampling {name}: ours {r['ours_per_s']:,.0f} tokens/s, generate ({r['peer_prompts_at_once']} prompts at once) "
            f"{r['peer_per_s']:,.0f} tokens/s, [bold]{r['ratio']:.1f}x[/]; replies of {r['reply_tokens'][0]:.0f} and "
            f"{r['reply_tokens'][1]:.0f} tokens  ({r['threads']} threads, load {r['load_average']:.2f})"
        )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
