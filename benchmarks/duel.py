"""Two sides on the same pairs, taking turns in one run."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any, Literal

from benchmarks import workloads
from benchmarks.pacing import Report, Side, Window
from benchmarks.workloads import Workload

Peer = Literal["trl", "separate"]
Dtype = Literal["fp32", "bf16"]
Reference = Literal["cached", "live"]

PAIRS_ITEMS, LIST_ITEMS = 128, 32
"""Pairs, or rankings, of one window. Every step of the run has its own, as in training: libraries that compile a kernel for every
new length, and caches, are not flattered by repetition."""
BATCH: dict[Workload, int] = {"conversations": 64, "pairs": 32}
"""Pairs of one optimiser step."""
LIST_BATCH = 16
"""Rankings of one optimiser step."""
PEER_SIZE: dict[tuple[Workload, Peer, Dtype], int] = {}
"""What was fastest (``benchmarks.tune``): TRL's micro-batch in pairs, the separate paths' tokens in a
pack."""
PEER_SIZE_OTHERWISE: dict[Peer, int] = {"trl": 1, "separate": 1024}


@dataclass(frozen=True)
class Match:
    """What is compared, and how.

    Attributes:
        items: pairs of one window, a multiple of ``batch_items``; 0 for the workload's own.
        batch_items: pairs of one optimiser step.
        peer_size: TRL's micro-batch in pairs, or the separate route's tokens in a pack; 0 for the tuned one.
        max_tokens: distinct tokens in one of our packs; 0 for halign's default.
        guardrails: a system message with the conversation's rules (``conversations`` only).
    """

    workload: Workload
    peer: Peer
    dtype: Dtype = "fp32"
    threads: int = 0
    repeats: int = 5
    items: int = 0
    batch_items: int = 0
    reference: Reference = "cached"
    peer_size: int = 0
    max_tokens: int = 0
    guardrails: bool = False
    warmup: int = 6

    @property
    def objective(self) -> str:
        """What both sides train with: DPO; on rankings its form for lists, which TRL does not have (it gets all pairs)."""
        return "dpo_pro" if self.workload.startswith("rankings") and self.peer != "trl" else "dpo"

    @property
    def batch(self) -> int:
        """Items of one optimiser step, unless said otherwise."""
        return LIST_BATCH if self.objective != "dpo" else BATCH.get(self.workload, 48)

    def filled(self) -> Match:
        """With every 0 replaced."""
        batch = self.batch_items or self.batch
        wanted = self.items or (LIST_ITEMS if self.objective != "dpo" else PAIRS_ITEMS)
        batch = min(batch, wanted)
        tuned = PEER_SIZE.get((self.workload, self.peer, self.dtype), PEER_SIZE_OTHERWISE[self.peer])
        return replace(
            self,
            threads=self.threads or len(os.sched_getaffinity(0)),
            batch_items=batch,
            items=wanted // batch * batch,
            peer_size=math.gcd(self.peer_size or tuned, batch)
            if self.peer == "trl"
            else self.peer_size or tuned,
        )


def play(match: Match, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Run both sides; the figures (DESIGN section 5), rates in pairs per second, memory in MB."""
    match = match.filled()
    window = Window(match.warmup, match.items // match.batch_items, match.repeats)
    count = window.total * match.batch_items
    found = workloads.rows(match.workload, count, match.guardrails)
    if match.objective == "dpo":
        found = workloads.as_pairs(found)[:count]
    common = {
        "model": str(workloads.model(match.workload)),
        "rows": str(workloads.write(found)),
        "objective": match.objective,
        "threads": match.threads,
        "dtype": match.dtype,
        "reference": match.reference,
        "batch_items": match.batch_items,
        "learning_rate": 1e-4,
        "window": asdict(window),
    }
    sides = {
        "ours": Side({**common, "side": "ours", "size": match.max_tokens}),
        "peer": Side({**common, "side": match.peer, "size": match.peer_size}),
    }
    load = [os.getloadavg()[0]]
    reports: dict[str, list[Report]] = {"ours": [], "peer": []}
    try:
        for side in sides.values():
            side.read()
        for repeat in range(match.repeats):
            for name, side in sides.items():
                reports[name].append(side.go())
                rate = match.items / reports[name][-1]["seconds"]
                say(f"{name} {repeat + 1}/{match.repeats}: {rate:.1f} items/s")
        facts = {name: side.read() for name, side in sides.items()}
    finally:
        for side in sides.values():
            side.close()
    load.append(os.getloadavg()[0])
    return _result(match, window, reports, facts, load)


def _result(
    match: Match,
    window: Window,
    reports: dict[str, list[Report]],
    facts: dict[str, Report],
    load: list[float],
) -> dict[str, Any]:
    rate = {name: [round(match.items / r["seconds"], 2) for r in found] for name, found in reports.items()}
    seconds, cpu = (
        {k: statistics.median(r[f] for r in v) for k, v in reports.items()}
        for f in ("seconds", "cpu_seconds")
    )
    ours, peer = facts["ours"], facts["peer"]
    return {
        **asdict(match),
        "objective": match.objective,
        "data": workloads.source(match.workload),
        "ours_per_s": statistics.median(rate["ours"]),
        "peer_per_s": statistics.median(rate["peer"]),
        "ratio": round(seconds["peer"] / seconds["ours"], 2),
        "cpu_ratio": round(cpu["peer"] / cpu["ours"], 2),
        "ours_peak_mb": ours["peak_mb"],
        "peer_peak_mb": peer["peak_mb"],
        "memory_ratio": round(ours["peak_mb"] / peer["peak_mb"], 3),
        "ours_peak_rss_mb": ours["peak_rss_mb"],
        "peer_peak_rss_mb": peer["peak_rss_mb"],
        "parameters": ours["parameters"],
        "distinct_tokens": ours["distinct_tokens"],
        "flat_tokens": ours["flat_tokens"],
        "peer_flat_tokens": peer["flat_tokens"],
        "sharing": round(ours["flat_tokens"] / ours["distinct_tokens"], 2),
        "steps": window.steps,
        "items_per_step": match.batch_items,
        "ours_runs_per_s": rate["ours"],
        "peer_runs_per_s": rate["peer"],
        "agreement": agreement(ours, peer),
        "load_average": load,
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "halign")},
    }


def agreement(ours: dict[str, Any], peer: dict[str, Any]) -> dict[str, float]:
    """Do both compute the same? Largest difference of the mean log-probabilities of chosen and rejected (of a ranking's best)
    responses (nats), at the first step and after all others have trained both models; and, for scale, the
    first step's mean.
    """
    names = [k for k in LOGPS if k in ours]

    def gap(step: int) -> float:
        return max(abs(ours[k][step] - peer[k][step]) for k in names)

    return {
        "first_step": gap(0),
        "last_step": gap(-1),
        "logps": ours[names[0]][0],
        "moved": _moved(ours),
    }


LOGPS = ("chosen_logps", "rejected_logps", "best_logps")
"""Measures of a step that both sides report."""


def _moved(side: dict[str, Any]) -> float:
    """How far training moved our own margin (a ranking's best response), in nats: the scale of ``last_step``."""
    if "best_logps" in side:
        return float(side["best_logps"][-1] - side["best_logps"][0])
    margin = [c - r for c, r in zip(side["chosen_logps"], side["rejected_logps"], strict=True)]
    return margin[-1] - margin[0]
