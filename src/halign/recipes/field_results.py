"""From the replies of every method and seed to the rows of the table, with intervals clustered by conversation."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import stdev
from typing import Any

from halign.evaluate import ALL, Interval, Reply, difference, mean, share
from halign.recipes.field_steps import FAILED, RESULT
from halign.recipes.steps import read_rows

OF_REPLIES: dict[str, Callable[[Reply], float | None]] = {
    "reward": lambda r: r.grade.worth,
    "adherence": lambda r: float(r.grade.acceptable["adherence"]),
    "natural": lambda r: float(r.grade.acceptable["naturalness"]),
    "supported": lambda r: float(r.grade.acceptable["hallucination"]),
    ALL: lambda r: float(r.grade.all_right),
    "kl": lambda r: r.kl,
    "tokens": lambda r: float(r.tokens),
    "unfinished": lambda r: float(not r.finished),
}
"""Measure -> its value for one reply; None where it was not taken."""
SHARES = frozenset({"adherence", "natural", "supported", ALL, "unfinished"})
"""Measures that are yes or no for a reply."""
OF_DRIFT = {"chosen drift": "chosen", "worse drift": "rejected"}
"""Measure -> key of a drift row: log pi - log pi_start of a reply that was given, nats."""

Seen = list[tuple[str, float]]
"""(conversation, value) of every prompt, in the order of the prompts."""


@dataclass(frozen=True)
class Finding:
    """One measure of one method.

    Attributes:
        interval: mean over seeds and prompts; seeds of one prompt are in one cluster with its conversation.
        seeds: the mean of each seed.
        versus: mean of the method minus the start model, prompt by prompt and seed by seed.
    """

    interval: Interval
    seeds: list[float]
    versus: Interval

    @property
    def spread(self) -> float | None:
        """Standard deviation between seeds; None for a single one."""
        return stdev(self.seeds) if len(self.seeds) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        return {
            **self.interval.to_dict(),
            "seeds": self.seeds,
            "spread": self.spread,
            "versus_start": self.versus.to_dict(),
        }


@dataclass(frozen=True)
class Row:
    """A method's row. ``findings`` is empty if training diverged with every seed."""

    name: str
    replies: Mapping[str, list[list[Reply]]]
    findings: Mapping[str, Finding] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    def value(self, measure: str) -> float:
        """The mean; minus infinity where there is none."""
        return self.findings[measure].interval.value if self.findings else -float("inf")


@dataclass(frozen=True)
class Runs:
    """What one method's seeds left."""

    replies: dict[str, list[list[Reply]]]  # history -> seed -> replies
    drift: list[list[dict[str, Any]]]  # seed -> rows
    seeds: list[int]
    failed: list[str]
    about: dict[str, Any]


def read_runs(folders: Mapping[int, Path], histories: Sequence[str]) -> Runs:
    """The results of a method's seeds; those that diverged are only counted."""
    runs = Runs({h: [] for h in histories}, [], [], [], {})
    for seed, folder in folders.items():
        about = json.loads((folder / RESULT).read_text())
        if about[FAILED]:
            runs.failed.append(f"seed {seed}: {about[FAILED]}")
            continue
        runs.about.update({k: about[k] for k in ("items", "updates", "batch_items") if k in about})
        runs.seeds.append(seed)
        runs.drift.append(read_rows(folder / "drift.jsonl"))
        for h in histories:
            runs.replies[h].append([Reply.of(r) for r in read_rows(folder / f"{h}.jsonl")])
    return runs


def rows(runs: Mapping[str, Runs], start: str) -> list[Row]:
    """A row for every method, in order."""
    base = runs[start]
    return [
        Row(name, r.replies, _findings(r, base) if r.seeds else {}, tuple(r.failed), r.about)
        for name, r in runs.items()
    ]


def _findings(mine: Runs, base: Runs) -> dict[str, Finding]:
    taken: dict[str, Callable[[Runs], list[Seen]]] = {m: _of_replies(f) for m, f in OF_REPLIES.items()}
    taken |= {m: _of_drift(key) for m, key in OF_DRIFT.items()}
    places = [base.seeds.index(s) for s in mine.seeds]
    found = {}
    for name, take in taken.items():
        ours, theirs = take(mine), take(base)
        found[name] = finding(ours, [theirs[i] for i in places], share if name in SHARES else mean)
    return found


def finding(
    ours: Sequence[Seen], theirs: Sequence[Seen], estimate: Callable[..., Interval] = mean
) -> Finding:
    """The finding of the values of each seed, against those of the start model with the same seeds."""
    flat = [pair for seed in ours for pair in seed]
    other = [value for seed in theirs for _, value in seed]
    clusters, values = [c for c, _ in flat], [v for _, v in flat]
    return Finding(
        estimate(values, clusters),
        [sum(v for _, v in seed) / len(seed) for seed in ours],
        difference(values, other, clusters, scale=(0.0, 1.0) if estimate is share else None),
    )


def _of_replies(measure: Callable[[Reply], float | None]) -> Callable[[Runs], list[Seen]]:
    def take(runs: Runs) -> list[Seen]:
        seeds = range(len(runs.seeds))
        found: list[Seen] = []
        for s in seeds:
            said = [r for of in runs.replies.values() for r in of[s]]
            found.append([(r.conversation, v) for r in said if (v := measure(r)) is not None])
        return found

    return take


def _of_drift(key: str) -> Callable[[Runs], list[Seen]]:
    return lambda runs: [[(r["conversation"], r[key]) for r in seed] for seed in runs.drift]
