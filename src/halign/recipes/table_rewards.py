"""Mean rewards of every model's replies: what it was rewarded for, beside what is true, and the distance paid for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from halign.evaluate import Interval, Reply, score
from halign.evaluate.intervals import advantage, mean
from halign.recipes.arms import JUDGE, REWARD
from halign.recipes.engine import Outcome
from halign.recipes.origins import BASE
from halign.recipes.steps import read_rows
from halign.recipes.table import Graph
from halign.reporting import Panel
from halign.reporting.svg import Spot, scatter
from halign.times import duration

NAMES = {JUDGE: "true reward", REWARD: "reward"}
"""Columns of rewards that are no arm of the table; an arm's is "reward by ARM"."""

NOTE = (
    "Mean reward of the replies to test prompts with its 95 % interval, in which conversations are taken as independent; gains "
    "are paired by prompt. KL is measured on the models' own samples; the time is that of a model's own training, without what "
    "it starts or learns from. The true reward of a reply is the mean of the share of the guardrails in force that it keeps, "
    "whether it is natural, and whether it invents nothing."
)


@dataclass(frozen=True)
class Rewarded:
    """One model.

    Attributes:
        means: name of a reward -> its mean over all replies, clustered by conversation.
        gains: the same, minus the reference model's on the same prompts; empty for the reference itself.
        kl: from the reference, nats per reply; None if it was not measured.
        seconds: of its own training; None where nothing was trained.
    """

    model: str
    means: Mapping[str, Interval]
    gains: Mapping[str, Interval]
    kl: Interval | None
    seconds: float | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            **{name: i.to_dict() for name, i in self.means.items()},
            "gain": {name: i.to_dict() for name, i in self.gains.items()},
            "kl": self.kl.to_dict() if self.kl else None,
            "seconds": self.seconds,
        }


def rewarded(
    settings: Mapping[str, Any],
    graph: Graph,
    outcome: Outcome,
    replies: Mapping[str, Mapping[str, Sequence[Reply]]],
) -> list[Rewarded]:
    """Every model that has answered, in order; empty if no rewards were asked for."""
    if not settings["rewards"]:
        return []
    values = {
        m: {n: _values(n, m, graph, outcome, of) for n in settings["rewards"]} for m, of in replies.items()
    }
    reference = values[settings["reference"]]
    found = []
    for m, of in values.items():
        said = [r for h in graph.histories for r in replies[m][h]]
        clusters = [r.conversation for r in said]
        found.append(
            Rewarded(
                m,
                {_column(n): mean(v, clusters) for n, v in of.items()},
                {}
                if m == settings["reference"]
                else {
                    _column(n): advantage([a - b for a, b in zip(v, reference[n], strict=True)], clusters)
                    for n, v in of.items()
                },
                score(said).kl,
                None if m == BASE else training_seconds(m, graph, outcome),
            )
        )
    return found


def training_seconds(name: str, graph: Graph, outcome: Outcome) -> float | None:
    """Wall time of a model's own training, sampling included; of a round's model, up to that round. None for a prompted one."""
    arm, stage = graph.arms.get(name), graph.models[name]
    if arm is None or (arm.way != "prompt" and arm.round is None):
        return outcome.seconds[stage.name]
    if arm.round is None:
        return None
    rows = read_rows(outcome.folders[stage.name] / "run" / "metrics.jsonl")
    return float(sum(sum(r.get("seconds", {}).values()) for r in rows if r["step"] <= arm.round))


def _column(name: str) -> str:
    return NAMES.get(name, f"reward by {name}")


def _values(
    name: str, model: str, graph: Graph, outcome: Outcome, replies: Mapping[str, Sequence[Reply]]
) -> list[float]:
    if name == JUDGE:
        return [r.grade.worth for h in graph.histories for r in replies[h]]
    found = json.loads((outcome.folders[graph.scores[name].name] / f"{model}.json").read_text())
    return [value for h in graph.histories for value in found[h]]


def panel(rewards: Sequence[Rewarded], reference: str) -> Panel | None:
    """The section of the report; None without rewards."""
    if not rewards:
        return None
    names = list(rewards[0].means)
    columns = [
        "model",
        *(c for n in names for c in (n, f"gain over {reference}")),
        f"KL from {reference}",
        "training",
    ]
    rows = []
    for r in rewards:
        cells = [r.model]
        for n in names:
            cells += [_cell(r.means[n]), _cell(r.gains[n], sign=True) if n in r.gains else "–"]
        kl = _cell(r.kl, digits=2) if r.kl and r.gains else "–"
        rows.append([*cells, kl, "–" if r.seconds is None else duration(r.seconds)])
    charts = [
        scatter(
            [_spot(r, n, reference) for r in rewards if r.kl],
            f"{n} by KL",
            f"KL from {reference}, nats per reply",
            n,
            size=(960, 420),
        )
        for n in names
    ]
    return Panel(
        "rewards",
        "Rewards, and the distance paid for them",
        NOTE if NAMES[JUDGE] in names else NOTE.split(" The true")[0],
        columns,
        rows,
        [c for c in charts if c],
    )


def _spot(r: Rewarded, name: str, reference: str) -> Spot:
    y = r.means[name]
    kl = r.kl if r.kl and r.model != reference else Interval(0.0, 0.0, 0.0, y.n, y.clusters)
    css = "c0" if r.model == reference else "c1"
    return Spot(r.model, kl.value, y.value, (kl.low, kl.high), (y.low, y.high), css)


def _cell(i: Interval, *, sign: bool = False, digits: int = 3) -> str:
    plus = "+" if sign else ""
    parts = (f"{x:{plus}.{digits}f}".replace("-", "−") for x in (i.value, i.low, i.high))
    return "{} [{}, {}]".format(*parts)
