"""Everything, with the floors it has to reach: `python -m benchmarks.all` (more than an hour on two cores).

Writes ``benchmarks/results/*.json`` and prints one table. Exit status 1 if a floor is missed. What was
measured before under the same name is measured again, unless ``--keep`` is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from benchmarks import duel, harness, preparation, rl, sampling, workloads
from benchmarks.duel import Dtype, Match, Peer
from benchmarks.workloads import Workload

RESULTS = Path(__file__).parent / "results"
SPEED: dict[tuple[Workload, Peer, Dtype], float] = {
    ("conversations", "trl", "fp32"): 20,
    ("conversations", "trl", "bf16"): 35,
    ("conversations", "separate", "fp32"): 5,
    ("conversations", "separate", "bf16"): 5,
    ("pairs", "trl", "fp32"): 4,
    ("pairs", "trl", "bf16"): 9,
    ("pairs", "separate", "fp32"): 1.3,
    ("pairs", "separate", "bf16"): 1.3,
    ("rankings", "separate", "fp32"): 2,
    ("rankings", "separate", "bf16"): 2,
    ("rankings_care4", "separate", "fp32"): 2,
    ("rankings_care4", "separate", "bf16"): 2,
    ("rankings_care8", "separate", "fp32"): 3,
    ("rankings_care8", "separate", "bf16"): 3,
}
"""Least ratio of items per second to the peer's."""
RULES_ITEMS = 32
"""Pairs of a step, and of a window, of conversations whose rules stand in a system message: TRL takes half a minute for them."""
MEMORY: dict[tuple[Workload, Peer], float] = {("conversations", "trl"): 1 / 3}
"""Largest share of the peer's peak memory."""
PREPARATION = 5.0
"""Least ratio of pairs prepared per second to TRL's."""
SAMPLING = 3.0
"""Least ratio of tokens sampled per second to those of ``model.generate``."""
RL_PROMPTS = 4
"""Prompts of a policy gradient's step here, each answered as often as in ``benchmarks.rl`` alone: some three minutes."""

console = Console(highlight=False, width=150)


@dataclass(frozen=True)
class Line:
    """A row of the table: figures of one benchmark and whether they reach the floors (None: no floor)."""

    cells: tuple[str, ...]
    speed: bool | None
    memory: bool | None = None

    @property
    def passed(self) -> bool:
        """True unless a floor was missed."""
        return self.speed is not False and self.memory is not False


def preference_line(r: dict[str, Any]) -> Line:
    """The table's row of a result of ``duel.play``."""
    floor = SPEED.get((r["workload"], r["peer"], r["dtype"]))
    ceiling = MEMORY.get((r["workload"], r["peer"]))
    speed = None if floor is None else r["ratio"] >= floor
    memory = None if ceiling is None else r["memory_ratio"] <= ceiling
    cells = (
        f"{r['workload']}{' with rules' if r['guardrails'] else ''} {r['dtype']}",
        r["peer"],
        f"{r['distinct_tokens']:,} / {r['flat_tokens']:,}",
        f"{r['ours_per_s']:.1f}",
        f"{r['peer_per_s']:.1f}",
        _marked(f"{r['ratio']:.1f}x", speed),
        "" if floor is None else f"{floor:g}x",
        f"{r['ours_peak_mb']:.0f} / {r['peer_peak_mb']:.0f}",
        _marked(f"{r['memory_ratio']:.2f}", memory),
        "" if ceiling is None else f"{ceiling:.2f}",
    )
    return Line(cells, speed, memory)


def preparation_line(r: dict[str, Any]) -> Line:
    """The table's row of a result of ``preparation.measure``."""
    speed = r["ratio"] >= PREPARATION
    figures = (
        f"{r['ours_per_s']:,.0f}",
        f"{r['peer_per_s']:,.0f}",
        _marked(f"{r['ratio']:.1f}x", speed),
        f"{PREPARATION:g}x",
    )
    return Line((f"preparation {r['workload']}", r["peer"], "", *figures, "", "", ""), speed)


def sampling_line(r: dict[str, Any]) -> Line:
    """The table's row of a result of ``sampling.measure``; tokens instead of pairs."""
    speed = r["ratio"] >= SAMPLING
    figures = (
        f"{r['ours_per_s']:,.0f}",
        f"{r['peer_per_s']:,.0f}",
        _marked(f"{r['ratio']:.1f}x", speed),
        f"{SAMPLING:g}x",
    )
    return Line((f"sampling {r['workload']} fp32", r["peer"], "", *figures, "", "", ""), speed)


def harness_line(r: dict[str, Any]) -> Line:
    """The table's row of a result of ``harness.measure``; requests instead of pairs."""
    floor = None if r["workload"] in harness.NO_FLOOR else harness.FLOOR
    speed = None if floor is None else r["ratio"] >= floor
    figures = (
        f"{r['ours_per_s']:.1f}",
        f"{r['peer_per_s']:.1f}",
        _marked(f"{r['ratio']:.1f}x", speed),
        "" if floor is None else f"{floor:g}x",
    )
    tokens = f"{r['distinct_tokens']:,} / {r['flat_tokens']:,}"
    return Line((f"harness {r['workload']} fp32", r["peer"], tokens, *figures, "", "", ""), speed)


def rl_line(r: dict[str, Any]) -> Line:
    """The table's row of a result of ``rl.play``; replies instead of pairs."""
    speed = r["ratio"] >= rl.FLOOR
    share = r["ours_peak_mb"] / r["peer_peak_mb"]
    figures = (
        f"{r['ours_per_s']:.1f}",
        f"{r['peer_per_s']:.1f}",
        _marked(f"{r['ratio']:.1f}x", speed),
        f"{rl.FLOOR:g}x",
        f"{r['ours_peak_mb']:.0f} / {r['peer_peak_mb']:.0f}",
        f"{share:.2f}",
        "",
    )
    return Line((f"rloo {r['dtype']}", r["peer"], "", *figures), speed)


def _marked(text: str, passed: bool | None) -> str:
    if passed is None:
        return text
    return f"[green]{text} ✓[/]" if passed else f"[red]{text} ✗[/]"


def table(lines: list[Line]) -> Table:
    """All rows."""
    made = Table(
        title="halign against its peers (pairs/s, sampling tokens/s, harness requests/s, rloo replies/s; "
        "peak MB above model and data)"
    )
    for name in ("what", "peer", "tokens distinct / flat"):
        made.add_column(name)
    for name in ("ours/s", "peer/s", "ratio", "floor", "peak MB ours / peer", "share", "at most"):
        made.add_column(name, justify="right")
    for line in lines:
        made.add_row(*line.cells)
    return made


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=__doc__)
    parser.add_argument(
        "--workload", choices=get_args(Workload), nargs="+", default=["conversations", "pairs"]
    )
    parser.add_argument("--peer", choices=get_args(Peer), nargs="+", default=list(get_args(Peer)))
    parser.add_argument("--dtype", choices=get_args(Dtype), nargs="+", default=list(get_args(Dtype)))
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--items", type=int, default=0, help="pairs timed per repeat")
    parser.add_argument("--no-sampling", action="store_true", help="leave sampling out")
    parser.add_argument(
        "--no-harness", action="store_true", help="leave multiple choice out (it needs lm_eval)"
    )
    parser.add_argument("--no-rl", action="store_true", help="leave policy gradients out")
    parser.add_argument("--keep", action="store_true", help="keep results that are there already")
    given = parser.parse_args()
    if not given.no_harness and find_spec("lm_eval") is None:
        parser.error(
            "multiple choice is measured against lm_eval: pip install 'halign[bench]', or --no-harness"
        )
    RESULTS.mkdir(exist_ok=True)
    lines: list[Line] = []
    for workload in given.workload:
        file = RESULTS / f"preparation-{workload}.json"
        if not (given.keep and file.exists()):
            _write(file, preparation.measure(workload, given.items or 1600, given.repeats))
        lines.append(preparation_line(json.loads(file.read_text())))
        for peer in given.peer:
            for dtype in given.dtype:
                file = RESULTS / f"{workload}-{peer}-{dtype}.json"
                if not (given.keep and file.exists()):
                    console.print(f"{workload} against {peer}, {dtype}")
                    match = Match(workload, peer, dtype, given.threads, given.repeats, given.items)
                    _write(file, duel.play(match, lambda text: console.print(f"  {text}")))
                lines.append(preference_line(json.loads(file.read_text())))
    for dtype in given.dtype if "conversations" in given.workload and "trl" in given.peer else ():
        file = RESULTS / f"conversations-rules-trl-{dtype}.json"
        if not (given.keep and file.exists()):
            console.print(f"conversations with rules against trl, {dtype}")
            match = Match(
                "conversations", "trl", dtype, given.threads, 3, RULES_ITEMS, guardrails=True, warmup=2
            )
            _write(file, duel.play(match, lambda text: console.print(f"  {text}")))
        lines.append(preference_line(json.loads(file.read_text())))
    for name in get_args(sampling.Model) if not given.no_sampling else ():
        file = RESULTS / f"sampling-{name}.json"
        if not (given.keep and file.exists()):
            _write(file, sampling.measure(name, given.repeats, given.threads))
        lines.append(sampling_line(json.loads(file.read_text())))
    for name in harness.available() if not given.no_harness else ():
        file = RESULTS / f"harness-{name}.json"
        if not (given.keep and file.exists()):
            _write(
                file, harness.measure(name, str(workloads.model("pairs")), given.repeats, given.threads or 1)
            )
        lines.append(harness_line(json.loads(file.read_text())))
    if not given.no_rl:
        file = RESULTS / "rl.json"
        if not (given.keep and file.exists()):
            console.print("rloo against trl")
            _write(file, rl.play(rl.RlMatch(prompts=RL_PROMPTS, threads=given.threads or 1)))
        lines.append(rl_line(json.loads(file.read_text())))
    console.print(table(lines))
    if not all(line.passed for line in lines):
        sys.exit(1)


def _write(file: Path, result: dict[str, Any]) -> None:
    file.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
