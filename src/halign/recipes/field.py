"""The field: every offline method, from the same model, on the same replies, in the same number of updates.

    conversations ── start (SFT) ── replies with true rewards ──┬── tries (validation prompts) ──┐
                                                                └── each method, three seeds ────┴── report

A method's learning rate and strength are chosen by the same number of tries, scored by the mean true reward of
what the tried model says to validation prompts; the test prompts are looked at once, at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from halign.errors import HalignError
from halign.recipes.engine import Outcome
from halign.recipes.field_data import FORMS
from halign.recipes.origins import base_stage, data_stage, world_version
from halign.recipes.recipe import Finished, Recipe
from halign.recipes.stages import Stage, Store

START = "start"
"""The row of the model that every method starts from."""


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        name: of the row.
        objective: as ``halign train`` takes it; None for the model that all start from.
        form: which of ``FORMS`` it learns from.
        learning_rate: around which tuning looks.
        settings: of the objective.
        strength: the setting that says how strong the method is, such as beta; "" if it has none.
        strengths: other values of it that tuning tries.
    """

    name: str
    objective: str | None
    form: str | None = None
    learning_rate: float = 0.0
    settings: Mapping[str, Any] | None = None
    strength: str = ""
    strengths: tuple[float, ...] = ()

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> Method:
        """A method as the YAML has it.

        Raises:
            HalignError: for an unknown key or form, or without a learning rate.
        """
        own = {"objective": name, **entry}
        known = {"objective", "form", "learning_rate", "settings", "strength", "strengths"}
        if unknown := own.keys() - known:
            raise HalignError(
                f"methods.{name}: unknown key {min(unknown)!r}; known: {', '.join(sorted(known))}"
            )
        if own["objective"] is None:
            return cls(name, None)
        if own.get("form") not in FORMS:
            raise HalignError(f"methods.{name}.form: {own.get('form')!r} is none of {', '.join(FORMS)}")
        if not own.get("learning_rate"):
            raise HalignError(f"methods.{name}: a learning_rate is needed, around which tuning looks")
        if bool(own.get("strength")) != bool(own.get("strengths")):
            raise HalignError(
                f"methods.{name}: strength (a setting's name) and strengths (values) go together"
            )
        return cls(**{**own, "name": name, "strengths": tuple(own.get("strengths") or ())})

    def chosen_strength(self, value: float | None) -> float | None:
        """The strength in force: the tried one, else the method's own."""
        if not self.strength or value is not None:
            return value
        from halign.config import resolve

        own = resolve(self.objective or "", dict(self.settings or {})).objective_settings
        return next(float(s[self.strength]) for s in own.values() if self.strength in s)


@dataclass(frozen=True)
class Trial:
    """One setting of one method; ``reward`` on the validation prompts once it has been tried, None if it
    diverged.
    """

    method: Method
    learning_rate: float
    strength: float | None = None
    reward: float | None = None
    chosen: bool = False

    @property
    def label(self) -> str:
        own = "" if self.strength is None else f"-{self.method.strength}={self.strength:g}"
        return f"{self.method.name}-{self.learning_rate:g}{own}"

    @property
    def settings(self) -> dict[str, Any]:
        """What to train with."""
        own = {} if self.strength is None else {self.method.strength: self.strength}
        return {"learning_rate": self.learning_rate, **(self.method.settings or {}), **own}


def best(trials: Sequence[Trial]) -> Trial:
    """The highest reward; of equal ones the lower rate. One that diverged is worse than any that did not."""
    worst = -1.0
    return max(trials, key=lambda t: (worst if t.reward is None else t.reward, -t.learning_rate))


def spare_rates(trials: Sequence[Trial], count: int) -> list[float]:
    """Further learning rates: beyond the best one where that is at an end of what was tried, else between it
    and its neighbours, the better one first.

    >>> m = Method("m", "sft", "tokens", 1e-4)
    >>> at = lambda *rewards: [Trial(m, r, reward=x) for r, x in zip((1e-5, 3e-5, 9e-5), rewards)]
    >>> spare_rates(at(0.1, 0.2, 0.3), 1), spare_rates(at(0.3, 0.2, 0.1), 1), spare_rates(at(0.1, 0.3, 0.2), 2)
    ([0.00027], [3.3e-06], [5.2e-05, 1.7e-05])
    """
    tried = sorted(trials, key=lambda t: t.learning_rate)
    at = tried.index(best(trials))
    rates = [t.learning_rate for t in tried]
    if len(rates) == 1:
        found = [rates[0] * 3**n for n in (1, -1, 2, -2)]
    elif at == len(rates) - 1:
        found = [rates[-1] * (rates[-1] / rates[-2]) ** n for n in range(1, count + 1)]
    elif at == 0:
        found = [rates[0] * (rates[0] / rates[1]) ** n for n in range(1, count + 1)]
    else:
        sides = sorted((tried[at - 1], tried[at + 1]), key=lambda t: t.reward or 0.0, reverse=True)
        found = [(t.learning_rate * rates[at]) ** 0.5 for t in sides]
    return [float(f"{r:.2g}") for r in found[:count]]


class Job:
    """The field on some settings."""

    def __init__(self, settings: Mapping[str, Any], store: Store) -> None:
        self.settings, self.store = settings, store
        self.methods = [Method.of(name, e) for name, e in settings["methods"].items() if e is not None]
        if START not in {m.name for m in self.methods}:
            raise HalignError(f"methods.{START} is what the others are compared with; leave it in")
        if settings["tune"]["prompts"] > settings["test_prompts"]:
            raise HalignError(
                "tune.prompts: there are as many validation prompts as test prompts (test_prompts=)"
            )
        self.trials: list[Trial] = []

    def rounds(self) -> Iterator[Sequence[Stage]]:
        """Tries of learning rates; then of strengths or further rates; then every method, seed by seed."""
        from halign.recipes.tune import grid

        tune = self.settings["tune"]
        tuned = [m for m in self.methods if m.objective]
        first = [Trial(m, r) for m in tuned for r in grid(m.learning_rate, tune["factors"])]
        yield [self.data, *map(self.attempt, first)]
        first = [self.scored(t) for t in first]
        more = [t for m in tuned for t in self.further([t for t in first if t.method is m], tune["extra"])]
        if more:
            yield list(map(self.attempt, more))
        tried = [*first, *map(self.scored, more)]
        picked = {m.name: best([t for t in tried if t.method is m]) for m in tuned}
        self.trials = [
            replace(t, chosen=t is picked[t.method.name]) for m in tuned for t in tried if t.method is m
        ]
        yield list(self.finals.values())

    def further(self, tried: Sequence[Trial], count: int) -> list[Trial]:
        """Tries beyond the learning rates: the method's other strengths at the best rate, then spare rates."""
        top = best(tried)
        strengths = [replace(top, strength=s, reward=None) for s in top.method.strengths[:count]]
        rates = spare_rates(tried, count - len(strengths)) if count > len(strengths) else []
        return [*strengths, *(Trial(top.method, r) for r in rates)]

    def scored(self, trial: Trial) -> Trial:
        """The trial with what it reached."""
        from halign.recipes.field_steps import RESULT

        found = json.loads((self.store.folder(self.attempt(trial)) / RESULT).read_text())
        return replace(trial, reward=found.get("reward"))

    # -- the stages ----------------------------------------------------------------------------------------------

    @cached_property
    def base(self) -> Stage:
        return base_stage({**self.settings, "model": None})

    @cached_property
    def data(self) -> Stage:
        s = self.settings
        return data_stage({**s, "data": None}, s["histories"])

    @cached_property
    def start(self) -> Stage:
        """The model that every method starts from."""
        s = self.settings
        return Stage(
            START,
            "halign.recipes.steps:train",
            settings={
                "objective": "sft",
                "conversations": s["sft_conversations"],
                "settings": {"seed": s["seed"], **s["training"], **s["sft"]},
            },
            inputs={"model": self.base, "data": self.data},
            title="Training the model that every method starts from",
            why="It imitates the good replies of some conversations; the methods learn from the others.",
            cost=0.03 * s["sft_conversations"] + 5,
            resumable=True,
        )

    @cached_property
    def responses(self) -> Stage:
        """Replies with rewards, in every form."""
        s = self.settings
        turns = 5 * (s["conversations"] - s["sft_conversations"])
        return Stage(
            "responses",
            "halign.recipes.field_data:responses",
            settings={
                **self._world,
                **s["responses"],
                "skip": s["sft_conversations"],
                "multiple": s["updates"],
                "sampling": dict(s["sampling"]),
                "seed": s["seed"],
            },
            inputs={"model": self.start, "data": self.data},
            title="Sampling replies and grading them",
            why="A good reply and the model's own, with their true rewards: what every method learns from.",
            cost=0.06 * turns + 10,
        )

    @property
    def _world(self) -> dict[str, Any]:
        return {"world": self.settings["world"], "world_version": world_version(self.settings["world"])}

    def attempt(self, trial: Trial) -> Stage:
        """The stage that tries one setting."""
        s, tune = self.settings, self.settings["tune"]
        return Stage(
            f"try-{trial.label}",
            "halign.recipes.field_steps:attempt",
            settings={
                **self._common(trial),
                "prompts": tune["prompts"],
                "seed": tune["seed"],
            },
            inputs={"model": self.start, "responses": self.responses, "data": self.data},
            title=f"Trying {trial.label.replace(f'{trial.method.name}-', f'{trial.method.name}, rate ')}",
            why="Chosen by the true reward on validation prompts; every method gets as many tries.",
            cost=0.2 * s["updates"] + 0.025 * tune["prompts"] * len(s["histories"]) + 1,
        )

    def final(self, method: Method, seed: int) -> Stage:
        """The stage that trains a method at its chosen setting and asks it the test prompts."""
        s = self.settings
        shown = next((t for t in self.trials if t.chosen and t.method is method), None)
        common = self._common(shown) if shown else {**self._common(Trial(method, 0.0)), "settings": {}}
        asked = s["test_prompts"] * len(s["histories"])
        return Stage(
            f"{method.name}-{seed}",
            "halign.recipes.field_steps:measure",
            settings={**common, "prompts": s["test_prompts"], "kl_prompts": s["kl_prompts"], "seed": seed},
            inputs={"model": self.start, "responses": self.responses, "data": self.data},
            title=f"{method.name}, seed {seed}",
            why="At its chosen setting, on test prompts that nothing before has seen.",
            cost=(0.2 * s["updates"] if method.objective else 0.0) + 0.05 * asked + 3,
        )

    def _common(self, trial: Trial) -> dict[str, Any]:
        s = self.settings
        return {
            "objective": trial.method.objective,
            "form": trial.method.form,
            "updates": s["updates"],
            "settings": {**s["training"], **trial.settings},
            "histories": list(s["histories"]),
            "sampling": dict(s["sampling"]),
            **{k: v for k, v in self._world.items() if k == "world"},
        }

    @property
    def finals(self) -> dict[tuple[str, int], Stage]:
        """(method, seed) -> its last stage."""
        return {(m.name, seed): self.final(m, seed) for m in self.methods for seed in self.settings["seeds"]}

    def publish(self, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
        """table.md, results.json, settings.yaml, report.html, and what the methods learnt from."""
        from halign.recipes.field_report import publish

        return publish(self, output, outcome, overrides, size)


def show(console: Console, done: Finished) -> None:
    """The table, and where everything lies."""
    from halign.recipes.field_report import rich_table

    console.print(rich_table(done.evidence))
    console.print(f"\nReport: {done.report}", highlight=False, soft_wrap=True)
    console.print(f"Table:  {done.folder / 'table.md'}", highlight=False, soft_wrap=True)


RECIPE = Recipe(
    "field",
    "every offline method, compared on the same replies",
    Job,
    show,
    no_tune="every method is tuned on the validation split anyway (tune.factors=, tune.extra=)",
    later="Further tries, and every method with its chosen setting, follow from what these find.",
)
