"""Which worse replies teach a model most, in the care world: `python -m benchmarks.negatives --output runs/negatives`.

    context negatives   neglect, hallucination, misunderstanding, context (one of the three, drawn for each query)
    random negatives    random: a reply of another conversation
    guardrail pairs     rules: by the builder's checks and templates alone; world: the world's own alternatives, one guardrail
                        broken in each; world-checked: those that break a rule which the builder broke as well

All arms start from one model (the world's base after imitating 100 conversations), and learn as many pairs in as many updates
with the same objective. The five arms of context have the same queries and the same chosen replies (``halign data build capo``
with the start model as the writer), those of guardrails the replies of the same conversations. An arm's learning rate is the one
of three with the highest true reward on validation prompts.

Measured by the world's exact rules (``assess``) on what the models say to held-out prompts, with three training seeds: each arm
against the start model and against its control, prompt by prompt and seed by seed, in 95 % intervals clustered by conversation;
over all turns, and over those after the first, where there is a context. Stages are cached as a recipe's are; a second call goes
on where the first one stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.negatives_data import ARMS, CHECKED, CONTEXT, RANDOM, RULES, STRATEGIES, WORLD
from halign.builders.dependence import follows_context
from halign.evaluate import ALL, Reply, difference
from halign.recipes import field
from halign.recipes.display import RichBoard
from halign.recipes.engine import Outcome, run
from halign.recipes.field import START, Method, Trial
from halign.recipes.field_report import Field, results
from halign.recipes.field_results import OF_REPLIES, SHARES, Row, Runs, read_runs, rows
from halign.recipes.run import resolve, store
from halign.recipes.stages import Stage, Store

COMPARED = (
    *((arm, RANDOM) for arm in (CONTEXT, *STRATEGIES)),
    (RULES, WORLD),
    (RULES, CHECKED),
)
"""(arm, its control)."""
SUBSETS = ("all turns", "later turns")
SHOWN = ("reward", "adherence", "natural", "supported", ALL)
OURS: dict[str, Any] = {
    "conversations": 1500,
    "test_prompts": 150,
    "kl_prompts": 30,
    "updates": 40,
    "tune": {"extra": 0, "prompts": 75},
    "responses": {"prompts": 400, "drift_conversations": 15},
}
"""Changes of the settings of ``halign run field``; ``responses.prompts`` is the number of pairs of an arm."""
CONTEXT_CONVERSATIONS = 380
"""Conversations that the negatives of context are made of, of which some 48 queries in 40 pass all tests."""
TINY: dict[str, Any] = {
    **OURS,
    "conversations": 110,
    "test_prompts": 4,
    "kl_prompts": 2,
    "updates": 4,
    "tune": {"factors": [1.0], "extra": 0, "prompts": 2},
    "responses": {"prompts": 8, "drift_conversations": 2},
    "base": {"size": "demo"},
    "sampling": {"max_new_tokens": 80},
}


class Negatives(field.Job):
    """The arms as methods of a field: tuned, trained and asked as those are, each on pairs of its own."""

    def __init__(
        self, settings: Mapping[str, Any], objective: str, rate: float, context: int, kept: Store
    ) -> None:
        arms = {arm: {"objective": objective, "form": "own_pairs", "learning_rate": rate} for arm in ARMS}
        super().__init__({**settings, "methods": {START: {"objective": None}, **arms}}, kept)
        self.context = context

    @cached_property
    def responses(self) -> Stage:
        """The pairs of all arms."""
        s = self.settings
        return Stage(
            "pairs",
            "benchmarks.negatives_data:responses",
            settings={
                **self._world,
                "skip": s["sft_conversations"],
                "context_conversations": self.context,
                "pairs": s["responses"]["prompts"],
                "max_new_tokens": s["sampling"]["max_new_tokens"],
                "drift_conversations": s["responses"]["drift_conversations"],
                "seed": s["seed"],
            },
            inputs={"model": self.start, "data": self.data},
            title="Building the pairs",
            why="By the builders capo and guardrails, and the world's own.",
            cost=0.4 * self.context + 10,
        )

    def attempt(self, trial: Trial) -> Stage:
        """One learning rate of one arm."""
        return _of_arm(super().attempt(trial), "attempt", trial.method)

    def final(self, method: Method, seed: int) -> Stage:
        """One arm with one seed on the test prompts."""
        return _of_arm(super().final(method, seed), "measure", method)


def _of_arm(stage: Stage, function: str, method: Method) -> Stage:
    return replace(
        stage,
        function=f"benchmarks.negatives_data:{function}",
        settings={**stage.settings, "arm": method.name},
    )


def play(job: Negatives, workers: int | None = None, board: Any = None) -> dict[str, Any]:
    """All stages, and the figures."""
    total = Outcome({}, {}, [])
    for wanted in job.rounds():
        done = run(wanted, job.store, workers=workers, board=board)
        total = Outcome(
            {**total.folders, **done.folders}, {**total.seconds, **done.seconds}, [*total.made, *done.made]
        )
    return figures(job, total)


def figures(job: Negatives, outcome: Outcome) -> dict[str, Any]:
    """What the stages' folders say, for programs."""
    histories = job.settings["histories"]
    folders: dict[str, dict[int, Path]] = {}
    for (name, seed), stage in job.finals.items():
        folders.setdefault(name, {})[seed] = outcome.folders[stage.name]
    runs = {name: read_runs(f, histories) for name, f in folders.items()}
    data = outcome.folders[job.data.name]
    later = {h: [follows_context(p) for p in asked(job, data, h)] for h in histories}
    everywhere = {h: [True] * len(found) for h, found in later.items()}
    return {
        "settings": dict(job.settings),
        "pairs": json.loads((outcome.folders[job.responses.name] / "facts.json").read_text()),
        "seconds": sum(outcome.seconds.values()),
        **{
            subset: measured({n: only(r, kept) for n, r in runs.items()}, job.trials)
            for subset, kept in zip(SUBSETS, (everywhere, later), strict=True)
        },
    }


def asked(job: Negatives, data: Path, history: str) -> list[Any]:
    """The test prompts, in the order of the replies."""
    from halign.readers import read_prompts

    return read_prompts(data / f"prompts-test-{history}.jsonl")[: job.settings["test_prompts"]]


def only(runs: Runs, kept: Mapping[str, Sequence[bool]]) -> Runs:
    """The runs with the replies to some of the prompts."""
    return replace(
        runs,
        replies={
            h: [[r for r, k in zip(seed, kept[h], strict=True) if k] for seed in of]
            for h, of in runs.replies.items()
        },
    )


def measured(runs: Mapping[str, Runs], trials: Sequence[Trial]) -> dict[str, Any]:
    """Every arm, and every arm against its control."""
    found = rows(runs, START)
    by_name = {row.name: row for row in found}
    return {
        **results(Field(found, list(trials))),
        "compared": [
            {"arm": a, "control": b, **versus(by_name[a], runs[a], by_name[b], runs[b])} for a, b in COMPARED
        ],
    }


def versus(arm: Row, of_arm: Runs, control: Row, of_control: Runs) -> dict[str, Any]:
    """Measure -> mean of the arm minus its control over prompts and the seeds that neither lost, clustered by conversation."""
    seeds = [s for s in of_arm.seeds if s in of_control.seeds]
    if not seeds:
        return {}

    def said(row: Row, runs: Runs) -> list[Reply]:
        places = [runs.seeds.index(s) for s in seeds]
        return [r for of in row.replies.values() for i in places for r in of[i]]

    ours, theirs = said(arm, of_arm), said(control, of_control)
    clusters = [r.conversation for r in ours]
    if clusters != [r.conversation for r in theirs]:
        raise ValueError("arms that are compared must have answered the same prompts in the same order")
    found = {}
    for name in SHOWN:
        mine, other = ([OF_REPLIES[name](r) or 0.0 for r in of] for of in (ours, theirs))
        scale = (0.0, 1.0) if name in SHARES else None
        found[name] = difference(mine, other, clusters, scale=scale).to_dict()
    return found


def tables(found: Mapping[str, Any]) -> list[Table]:
    """The pairs, the arms over all turns and over later ones, and the comparisons."""
    facts = Table("arm", "pairs", "reward", *SHOWN[1:4], "all right", "worse", title="The worse replies")
    for arm, about in found["pairs"].items():
        kept = ("reward", "adherence", "naturalness", "hallucination", "all right", "worse")
        facts.add_row(arm, f"{about['pairs']:.0f}", *(f"{about[k]:.3f}" for k in kept))
    return [facts, *(t for subset in SUBSETS for t in (_arms(found, subset), _compared(found, subset)))]


def _arms(found: Mapping[str, Any], subset: str) -> Table:
    made = Table("arm", "rate", *SHOWN, "KL", title=f"{subset.capitalize()}: mean, gain over start [95 %]")
    for name, row in found[subset]["methods"].items():
        cells = []
        for m in SHOWN if _measured(row) else ():
            gain = row[m]["versus_start"]
            cells.append(f"{row[m]['value']:.3f} {_interval(gain) if name != START else ''}")
        kl = f"{row['kl']['value']:.2f}" if _measured(row) else "diverged"
        made.add_row(name, row["setting"], *(cells or [""] * len(SHOWN)), kl)
    return made


def _measured(row: Mapping[str, Any]) -> bool:
    """False for an arm that diverged with every seed."""
    return "reward" in row


def _compared(found: Mapping[str, Any], subset: str) -> Table:
    made = Table("arm", "against", *SHOWN, title=f"{subset.capitalize()}: difference [95 %]")
    for row in found[subset]["compared"]:
        made.add_row(row["arm"], row["control"], *(_interval(row[m]) if m in row else "-" for m in SHOWN))
    return made


def _interval(i: Mapping[str, float]) -> str:
    star = "*" if i["low"] > 0 or i["high"] < 0 else ""
    return f"{i['value']:+.3f}{star} [{i['low']:+.3f}, {i['high']:+.3f}]"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.negatives", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/negatives"), help="folder of the results")
    parser.add_argument("--objective", default="dpo", help="of pairs, by which every arm learns")
    parser.add_argument(
        "--learning-rate", type=float, default=6e-5, help="a third and three times are tried as well"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tiny", action="store_true", help="a few minutes, to see that it works")
    parser.add_argument("--workers", type=int, help="processes at a time; 0: this one")
    given = parser.parse_args()
    changes = {**(TINY if given.tiny else OURS), "seeds": list(range(given.seeds))}
    settings = resolve("field", "tiny" if given.tiny else None, changes)
    context = 20 if given.tiny else CONTEXT_CONVERSATIONS
    job = Negatives(settings, given.objective, given.learning_rate, context, store())
    found = play(job, given.workers, RichBoard())
    given.output.mkdir(parents=True, exist_ok=True)
    (given.output / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    console = Console(width=170, record=True)
    for table in tables(found):
        console.print(table)
    (given.output / "table.txt").write_text(console.export_text())


if __name__ == "__main__":
    main()
