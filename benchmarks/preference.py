"""Preference training against a peer: `python -m benchmarks.preference --workload conversations --peer trl`.

Both sides train the same model on the same pairs per optimiser step with the same precision, threads and
optimiser, nothing truncated, and take turns, each in a process of its own. Reported are medians over the
repeats; warm-up, reading, rendering and a cached reference's pass come before the clock starts.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from benchmarks.duel import Dtype, Match, Peer, Reference, play
from benchmarks.workloads import WORKLOADS

console = Console(highlight=False)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preference", description=__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, required=True)
    parser.add_argument("--peer", choices=get_args(Peer), required=True)
    parser.add_argument("--dtype", choices=get_args(Dtype), default="fp32")
    parser.add_argument("--reference", choices=get_args(Reference), default="cached")
    parser.add_argument("--threads", type=int, default=0, help="default: all cores")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=6, help="optimiser steps before the clock starts")
    parser.add_argument("--items", type=int, default=0, help="pairs or rankings timed per repeat")
    parser.add_argument("--batch-items", type=int, default=0, help="pairs or rankings per optimiser step")
    parser.add_argument(
        "--peer-size", type=int, default=0, help="TRL: pairs per micro-batch; separate: tokens per pack"
    )
    parser.add_argument(
        "--max-tokens", type=int, default=0, help="distinct tokens in our packs; 0: the default"
    )
    parser.add_argument(
        "--guardrails", action="store_true", help="conversations: the rules in a system message"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = vars(parser.parse_args())
    match = Match(**{f.name: given[f.name] for f in fields(Match)})
    result = play(match, console.print)
    show(result)
    if given["json"]:
        given["json"].parent.mkdir(parents=True, exist_ok=True)
        given["json"].write_text(json.dumps(result, indent=1) + "\n")


def show(r: dict[str, Any]) -> None:
    """The figures in a few lines."""
    thing = "pairs" if r["objective"] == "dpo" else "rankings"
    unit = "pairs a micro-batch" if r["peer"] == "trl" else "tokens a pack"
    agreement = r["agreement"]
    lines = [
        f"[bold]{r['workload']}[/] ({r['data']}), {r['dtype']}, {r['parameters'] / 1e6:.1f} M parameters, "
        f"{r['threads']} threads, {r['items']} {thing}, {r['items_per_step']} a step, {r['objective']}, "
        f"reference {r['reference']}",
        f"tokens     distinct {r['distinct_tokens']:,}  flat {r['flat_tokens']:,} "
        f"(peer {r['peer_flat_tokens']:,})  sharing {r['sharing']:.1f}x",
        f"speed      ours {r['ours_per_s']:.1f} {thing}/s  {r['peer']} {r['peer_per_s']:.1f} {thing}/s "
        f"({r['peer_size']} {unit})  [bold]{r['ratio']:.1f}x[/] (processor time {r['cpu_ratio']:.1f}x)",
        f"memory     ours {r['ours_peak_mb']:.0f} MB  {r['peer']} {r['peer_peak_mb']:.0f} MB  "
        f"[bold]{r['memory_ratio']:.2f}[/]  above model and data; whole process "
        f"{r['ours_peak_rss_mb']:.0f} and {r['peer_peak_rss_mb']:.0f} MB",
        f"agreement  mean log-probabilities differ by {agreement['first_step']:.1e} nats at the first step "
        f"(of {agreement['logps']:.1f}), by {agreement['last_step']:.1e} at the last "
        f"(training moved the margin by {agreement['moved']:.2g})",
        f"load       {r['load_average'][0]:.2f} before, {r['load_average'][1]:.2f} after",
    ]
    console.print("\n".join(lines), soft_wrap=True)


if __name__ == "__main__":
    main()
