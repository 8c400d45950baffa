"""R-Tuning, all variants, on questions that a small model knows in part: `python -m benchmarks.r_tuning --output runs/r_tuning`.

A Llama of under a million parameters reads facts about people that exist nowhere, some often, some seldom, some never. Then it is
tuned on questions about half of the people, in two of three kinds (``halign data build r_tuning``), and asked about the others:

    start                    as it is
    sft                      the right answers to the same questions
    correct|entropy, sure    right answers, then "I am sure." or "I am unsure.", split by correctness or by entropy (R-Tuning-U)
    correct|entropy, refuse  a refusal in place of the answer to what it does not know

Measured on kinds of question that were trained on (seen) and on the third (unseen), by the likeliest answer: average precision
by (p + P(sure)) / 2, and by the answer's probability p alone with refusals last; accuracy of what was answered; the share that
was refused, of all, of what the model knew before and of what it did not. One number a seed, where a seed has people, a model
and draws of its own; means with 95 % intervals (t) over seeds, and paired differences from sft. Stages are cached; a second call
goes on where the first one stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from benchmarks.r_tuning_stages import EXPOSURES, VARIANTS, Where
from halign.evaluate import mean
from halign.recipes.display import RichBoard
from halign.recipes.engine import Outcome, run
from halign.recipes.run import store
from halign.recipes.stages import Stage, Store

BASELINE = "sft"
MEASURES = (
    "ap",
    "ap_probability",
    "accuracy",
    "refused",
    "refused_known",
    "refused_unknown",
    "accuracy_of_all",
)
SIZE: dict[str, Any] = {
    "people": 600,
    "exposures": EXPOSURES,
    "pretraining": {"batch_items": 128, "max_tokens": 4096, "dtype": "bf16"},
    "shape": {"hidden_size": 128, "num_hidden_layers": 4, "intermediate_size": 384},
    "training": {"learning_rate": 1e-4, "epochs": 4, "batch_items": 16, "max_tokens": 4096, "dtype": "bf16"},
}
TINY: dict[str, Any] = {
    "people": 16,
    "exposures": (0, 4, 16, 64),
    "pretraining": {"batch_items": 16, "max_tokens": 2048},
    "shape": {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64},
    "training": {"learning_rate": 3e-4, "epochs": 1, "batch_items": 8},
}


def stages(size: Mapping[str, Any], seed: int) -> dict[str, Stage]:
    """Variant -> its last stage."""
    read = {k: size[k] for k in ("people", "exposures", "pretraining", "shape")}
    knowing = Stage(
        f"knowing-{seed}",
        "benchmarks.r_tuning_stages:knowing",
        settings={**read, "exposures": list(size["exposures"]), "seed": seed},
        title=f"Pretraining, seed {seed}",
        why="What is told of people often is known, what is told seldom is half known.",
        cost=60,
    )
    return {
        name: Stage(
            f"{name.replace(', ', '-')}-{seed}",
            "benchmarks.r_tuning_stages:variant",
            settings={
                "name": name,
                "settings": given,
                "training": {} if given is None else size["training"],
                "seed": seed,
            },
            inputs={"knowing": knowing},
            title=f"{name}, seed {seed}",
            why="Tuned on two kinds of questions, asked about other people in all three.",
            cost=3 if given is None else 15,
        )
        for name, given in VARIANTS.items()
    }


def play(
    size: Mapping[str, Any], seeds: Sequence[int], kept: Store, workers: int | None = None, board: Any = None
) -> dict[str, Any]:
    """All stages, and the figures: kind of questions -> variant -> measure -> ``estimate``."""
    made = {seed: stages(size, seed) for seed in seeds}
    done = run([s for of in made.values() for s in of.values()], kept, workers=workers, board=board)
    return {
        "size": dict(size),
        "seeds": list(seeds),
        "seconds": sum(done.seconds.values()),
        **{where: _figures(made, done, where) for where in get_args(Where)},
    }


def _figures(made: Mapping[int, Mapping[str, Stage]], done: Outcome, where: Where) -> dict[str, Any]:
    read = {
        name: [json.loads((done.folders[of[name].name] / "result.json").read_text())[where] for of in made.values()]
        for name in VARIANTS
    }  # fmt: skip
    return {
        name: {m: estimate([r[m] for r in rows], [r[m] for r in read[BASELINE]]) for m in MEASURES}
        for name, rows in read.items()
    }


def estimate(values: Sequence[float | None], baseline: Sequence[float | None]) -> dict[str, Any]:
    """The mean over seeds and its 95 % interval, and the same of the differences from the baseline, seed by seed.

    Seeds without a value (all was refused, nothing was known) are left out and ``n`` says how many are left; without two of them
    there is no interval.
    """
    pairs = [(v, v - b) for v, b in zip(values, baseline, strict=True) if v is not None and b is not None]
    given = [v for v in values if v is not None]
    return {
        "seeds": list(values),
        "n": len(given),
        **_interval(given),
        "versus": _interval([d for _, d in pairs]),
    }


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    if len(values) < 2:
        return {"value": values[0] if values else None, "low": None, "high": None}
    found = mean(values, range(len(values)))
    return {"value": found.value, "low": found.low, "high": found.high}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One for the figures of each kind of questions, one for the differences from ``sft``."""
    made = []
    for where in get_args(Where):
        for title, pick in (("mean [95 %]", lambda e: e), (f"minus {BASELINE}", lambda e: e["versus"])):
            table = Table("variant", *MEASURES, title=f"Kinds of question {where}: {title}")
            for name, row in found[where].items():
                if title.startswith("mean") or name != BASELINE:
                    table.add_row(name, *(_cell(pick(row[m])) for m in MEASURES))
            made.append(table)
    return made


def _cell(e: Mapping[str, float | None]) -> str:
    if e["value"] is None:
        return "-"
    if e["low"] is None or e["high"] is None:
        return f"{e['value']:.3f}"
    return f"{e['value']:.3f} [{e['low']:.3f}, {e['high']:.3f}]"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.r_tuning", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/r_tuning"), help="folder of the results")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--learning-rate", type=float, help="of the tuning; choose it on a seed that is not shown"
    )
    parser.add_argument("--epochs", type=float, help="of the tuning")
    parser.add_argument("--tiny", action="store_true", help="to see that it works")
    parser.add_argument("--workers", type=int, help="processes at a time; 0: this one")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    size = TINY if given.tiny else SIZE
    named = {"learning_rate": given.learning_rate, "epochs": given.epochs}
    training = {**size["training"], **{k: v for k, v in named.items() if v is not None}}
    found = play({**size, "training": training}, seeds, store(), given.workers, RichBoard())
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    console = Console(width=200, record=True)
    for table in tables(found):
        console.print(table)
    (given.output / "table.txt").write_text(console.export_text())


if __name__ == "__main__":
    main()
