"""The frontier: what each method reaches in true reward at which distance from the model it started from.

    conversations ── start (SFT) ──┬── a pool of N samples for each test prompt: best-of-n, the exact optimum
                                   ├── ranked replies to training prompts ── reward model ── loop against it, best-of-n by it
                                   └── each method, each strength, each seed ── replies to test prompts
                                                  └── by reward on validation prompts: one strength ── replies by temperature

Every method learns from the same prompts, from as many replies, in as many updates of the optimiser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from rich.console import Console

from halign.errors import HalignError
from halign.recipes.engine import Outcome
from halign.recipes.frontier_methods import Method
from halign.recipes.frontier_stages import START, Point, Stages
from halign.recipes.recipe import Finished, Recipe
from halign.recipes.stages import Stage, Store


class Job:
    """The frontier on some settings."""

    def __init__(self, settings: Mapping[str, Any], store: Store) -> None:
        self.settings, self.store = settings, store
        self.methods = [Method.of(name, e) for name, e in settings["methods"].items() if e is not None]
        _check(settings)
        self.stages = Stages(settings, self.methods)
        self.chosen: dict[str, float] = {}

    def rounds(self) -> Iterator[Sequence[Stage]]:
        """Everything at temperature 1; then one strength of each method over temperature."""
        yield [s for group in self.measured.values() for s in group.values()]
        self.chosen = self.choose()
        yield [s for of in self.warmed.values() for group in of.values() for s in group.values()]

    @cached_property
    def measured(self) -> dict[str, dict[Any, Stage]]:
        """What the first round wants: group -> key -> stage."""
        made, histories = self.stages, self.stages.histories
        pool = {h: made.pool(h) for h in histories}
        asked = {(p, h): made.trained(*p) for p in self.points for h in histories}
        over = {(k, h): made.over_answers(k, h) for k in range(len(made.segments)) for h in histories}
        return {
            "pool": pool,
            "pool learned": {h: made.learned_of(s, h) for h, s in pool.items()},
            "test": {(p, h): made.answers(model, p, "test", h) for (p, h), model in asked.items()},
            "validation": {
                (p, h): made.answers(model, p, "validation", h) for (p, h), model in asked.items()
            },
            "over": over,
            "over learned": {(k, h): made.learned_of(s, h) for (k, h), s in over.items()},
        }

    @property
    def points(self) -> list[Point]:
        """Every method at every strength with every seed."""
        return [(m.name, v, seed) for m in self.methods for v in m.values for seed in self.settings["seeds"]]

    def choose(self) -> dict[str, float]:
        """Each method's value with the highest mean reward on validation prompts, over seeds; of equal ones the first."""
        from halign.recipes.frontier_results import mean_reward

        def reached(name: str, value: float) -> float:
            asked = self.measured["validation"].items()
            return mean_reward([self.store.folder(s) for (p, _), s in asked if p[:2] == (name, value)])

        return {m.name: max(m.values, key=partial(reached, m.name)) for m in self.methods}

    @property
    def warmed(self) -> dict[str, dict[float, dict[Any, Stage]]]:
        """Model -> temperature -> (point, history) -> its replies. At temperature 1 they are those of the first round."""
        seeds = self.settings["seeds"]
        models: dict[str, list[Point]] = {START: [(START, 0.0, s) for s in seeds]}
        models |= {name: [(name, value, s) for s in seeds] for name, value in self.chosen.items()}
        made = self.stages
        return {
            name: {
                t: {
                    (p, h): made.answers(made.trained(*p), p, "test", h, t)
                    for p in points
                    for h in made.histories
                }
                for t in self.settings["temperatures"]
            }
            for name, points in models.items()
        }

    def publish(self, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
        """frontier.json, settings.yaml, report.html, and the plots as SVG and PNG."""
        from halign.recipes.frontier_report import publish

        return publish(self, output, outcome, overrides, size)


def _check(settings: Mapping[str, Any]) -> None:
    """What can be wrong together.

    Raises:
        HalignError: naming the setting.
    """
    if settings["data"] is not None and (settings["model"] is None or settings["world"] is not None):
        raise HalignError(
            "data= of your own needs model= (which to train) and world=null, and a reward= that fits"
        )
    if settings["data"] is None and settings["model"] is not None and settings["world"] is None:
        raise HalignError("model= without world needs data=: a file of conversations")
    if settings["test"]["validation_prompts"] > settings["test_prompts"]:
        raise HalignError(
            "test.validation_prompts: there are as many validation prompts as test prompts (test_prompts=)"
        )
    if bad := [n for n in settings["best_of"] if not 1 <= n <= settings["pool"]]:
        raise HalignError(f"best_of: {bad[0]} needs 1 to pool={settings['pool']} samples for each prompt")
    if cut := {"temperature", "top_p", "top_k"} & settings["sampling"].keys():
        raise HalignError(
            f"sampling.{min(cut)}: all KL is of the model itself; leave it out (temperatures= is for win rates)"
        )
    if settings["over"]["updates"] != sorted(set(settings["over"]["updates"])):
        raise HalignError("over.updates: they go up, each once")


def show(console: Console, done: Finished) -> None:
    """The table, and where everything lies."""
    from halign.recipes.frontier_report import rich_table

    console.print(rich_table(done.evidence))
    console.print(f"\nReport: {done.report}", highlight=False, soft_wrap=True)
    console.print(f"Numbers: {done.folder / 'frontier.json'}", highlight=False, soft_wrap=True)


RECIPE = Recipe(
    "frontier",
    "true reward against KL for every kind of method, best-of-n and the optimum; over-optimisation of a learned reward",
    Job,
    show,
    no_tune="each method is swept over its strength, and shown over temperature at the one chosen on validation prompts",
    later="Replies over temperature follow from the strengths chosen on validation prompts.",
)
