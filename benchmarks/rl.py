"""A policy gradient against TRL's on a CPU: `python -m benchmarks.rl --json FILE`.

Both run RLOO from the same model (the care world's base, whose replies end by a stop token of their own), on the same prompts,
with the same group size, longest reply, KL penalty against a frozen reference, and one optimiser step per batch of replies.
Sampling, grading, scoring and learning all count. The two sides take turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.pacing import Report, Side, Window

FLOOR = 5.0
"""Least ratio of samples per second to TRL's."""


@dataclass(frozen=True)
class RlMatch:
    """What is compared.

    Attributes:
        prompts, samples: of a step; replies are their product.
        micro: TRL's replies in one forward pass of learning; not tuned.
    """

    prompts: int = 8
    samples: int = 8
    max_new_tokens: int = 64
    dtype: str = "fp32"
    threads: int = 1
    steps: int = 2
    repeats: int = 2
    warmup: int = 1
    micro: int = 16


def prompt_rows(count: int) -> list[dict[str, Any]]:
    """Prompts of the care world as messages, guardrails in the system message as halign renders them."""
    from halign.template import DEFAULT_GUARDRAIL_TEMPLATE, Guardrails
    from halign.worlds import care

    rendered = Guardrails(DEFAULT_GUARDRAIL_TEMPLATE)
    found = care.test_prompts(count, split="train", seed=0)
    return [{"prompt": [{"role": m.role, "content": m.content} for m in rendered.apply(d)]} for d in found]


def grade(text: str) -> float:
    """A reward that costs nothing: short replies are better."""
    return -len(text) / 100


def play(match: RlMatch) -> dict[str, Any]:
    """Run both sides; rates in samples per second, memory in MB."""
    from halign.worlds.care import base_model

    window = Window(match.warmup, match.steps, match.repeats)
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "prompts.jsonl"
        rows.write_text("".join(json.dumps(r) + "\n" for r in prompt_rows(match.prompts * window.total)))
        common = {**asdict(match), "model": str(base_model()), "rows": str(rows), "window": asdict(window)}
        sides = {
            "ours": Side({**common, "side": "rl_halign"}),
            "peer": Side({**common, "side": "rl_trl"}),
        }
        reports: dict[str, list[Report]] = {name: [] for name in sides}
        try:
            for side in sides.values():
                side.read()
            for _ in range(match.repeats):
                for name, side in sides.items():
                    reports[name].append(side.go())
            facts = {name: side.read() for name, side in sides.items()}
        finally:
            for side in sides.values():
                side.close()
    replies = match.steps * match.prompts * match.samples
    rates = {name: [replies / r["seconds"] for r in found] for name, found in reports.items()}
    cpu = {name: statistics.median(r["cpu_seconds"] for r in found) for name, found in reports.items()}
    ours, peer = (statistics.median(rates[name]) for name in ("ours", "peer"))
    return {
        **asdict(match),
        "peer": "trl RLOOTrainer",
        "ours_per_s": round(ours, 2),
        "peer_per_s": round(peer, 2),
        "ratio": round(ours / peer, 2),
        "cpu_ratio": round(cpu["peer"] / cpu["ours"], 2),
        "ours_runs_per_s": [round(r, 2) for r in rates["ours"]],
        "peer_runs_per_s": [round(r, 2) for r in rates["peer"]],
        **{f"{name}_{k}": facts[name][k] for name in sides for k in ("peak_mb", "length", "finished")},
        "load_average": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("torch", "transformers", "trl", "halign")},
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rl", description=__doc__)
    parser.add_argument("--json", type=Path)
    for name, default in asdict(RlMatch()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = vars(parser.parse_args())
    file = given.pop("json")
    result = play(RlMatch(**given))
    if file:
        file.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
