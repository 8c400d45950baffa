"""A frame for recipes that end in a table of models: conversations, arms, their replies, grades, a report.

    data ──┬── arm ──┬── arm                    every model ── answers ── grades ──┬── report
    base ──┘         └── samples ── arm ...                  └── rewards ──────────┘

A recipe is a YAML file over ``table.yaml``: which arms there are (``arms.py``), and what is compared. The test split is
answered once, at the end; learning rates come from the validation split (``tune``).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from halign.errors import HalignError
from halign.recipes import built
from halign.recipes.arms import JUDGE, REWARD, Arm, all_arms, of_parts, samples_entry, source_of
from halign.recipes.origins import BASE, base_stage, data_stage, world_version
from halign.recipes.stages import Stage

STEPS = "halign.recipes.steps"
SAMPLED = "halign.recipes.sampled"


@dataclass(frozen=True)
class Graph:
    """The stages of one table.

    Attributes:
        arms: name -> the arm of each row; without the base. A loop of rounds may have a row for each (``Arm.round``).
        models: name -> the stage that makes it (of a prompted arm, that of its start); the base first.
        samples: name -> the rankings of a model's replies, or what a builder made.
        answers: name -> its replies to the prompts; reward models and models of users have none.
        grades: all replies, graded; None where nobody judges.
        scores: name of a reward -> its rewards of all replies.
        histories: kinds of prompts.
    """

    data: Stage
    arms: dict[str, Arm]
    models: dict[str, Stage]
    samples: dict[str, Stage]
    answers: dict[str, Stage]
    grades: Stage | None
    scores: dict[str, Stage]
    histories: list[str]
    split: str

    @property
    def wanted(self) -> list[Stage]:
        """What the report needs."""
        graded = [self.grades] if self.grades else list(self.answers.values())
        return [*graded, *self.scores.values(), *self.models.values()]


class Builder:
    """Makes the stages of resolved settings."""

    def __init__(self, settings: Mapping[str, Any], split: str) -> None:
        self.settings, self.split = settings, split
        if settings["data"] is not None and settings["model"] is None:
            raise HalignError("with data of your own, say which model to train: model=FOLDER_OR_HUB_NAME")
        if settings["judge"] is None and settings["world"] is None and settings["reward"] is None:
            raise HalignError(
                "whose replies are better? Set judge= to a judge, reward= to a reward, or world= to a world"
            )
        self.histories = list(settings["histories"]) if settings["data"] is None else ["given"]
        self.arms = all_arms(settings)
        if settings["reference"] not in {BASE, *self.arms}:
            raise HalignError(
                f"reference: no model {settings['reference']!r}; there is {', '.join(self.arms)}"
            )
        self.data = self._data()
        self.models = {BASE: base_stage(settings)}
        self.samples: dict[str, Stage] = {}
        self.rows: dict[str, Arm] = {}
        for arm in self.arms.values():
            made = self._model(arm)
            for row in (*arm.earlier_rounds, arm):
                self.rows[row.name], self.models[row.name] = row, made
        for where, names in (
            ("rewards", settings["rewards"]),
            *(("comparisons", c) for c in settings["comparisons"]),
        ):
            for name in names:
                self._check_known(where, name)

    def graph(self, answered: Collection[str] | None, limit: int | None) -> Graph:
        """The whole graph; see ``build``."""
        bare = any(a.by == "zero_shot" and a.start == BASE for a in self.rows.values())
        hidden = (
            {BASE} if bare and self.settings["reference"] != BASE else set()
        )  # it stands there by another name
        hidden |= {n for n, arm in self.rows.items() if not arm.answers}
        named = [n for n in self.models if n not in hidden]
        asked = {n: self._answers(n, limit) for n in named if answered is None or n in answered}
        graded = self.settings["judge"] is not None or self.settings["world"] is not None
        grades = self._grades(asked, limit) if graded else None
        scores = {
            n: self._scores(n, asked, limit)
            for n in self.settings["rewards"]
            if n in self.models or n == REWARD
        }
        return Graph(
            self.data, self.rows, self.models, self.samples, asked, grades, scores, self.histories, self.split
        )

    def _data(self) -> Stage:
        """What every other stage reads: conversations to learn from, and prompts."""
        return data_stage(self.settings, self.histories)

    def _check_known(self, where: str, name: str) -> None:
        left_out = {n for n, entry in self.settings["arms"].items() if entry is None}
        known = {*self.models, *left_out, *((JUDGE, REWARD) if where == "rewards" else ())}
        if name not in known:
            raise HalignError(f"{where}: no model {name!r}; there is {', '.join(sorted(known))}")

    def _named(self, name: str) -> str:
        return name if self.split == "test" else f"{name}-{self.split}"

    @property
    def _truth(self) -> dict[str, Any]:
        """What the judge of the recipe depends on."""
        world = self.settings["world"]
        return {"world": world, "world_version": world_version(world), "judge": self.settings["judge"]}

    def _reward(self, name: Any) -> tuple[dict[str, Any], dict[str, Stage]]:
        """(settings, inputs) of a stage that needs a reward: an arm, the judge, or words; None: the recipe's own."""
        if name is None or name == REWARD:
            name = JUDGE if self.settings["reward"] is None else self.settings["reward"]
        if isinstance(name, str) and name in self.arms:
            if not self.arms[name].is_reward:
                raise HalignError(f"reward: the arm {name!r} is no reward model")
            if name not in self.models:
                raise HalignError(f"reward: the reward model {name!r} comes later than what needs it")
            return {"reward": None}, {"reward": self.models[name]}
        return {"reward": name, **(self._truth if name == JUDGE else {})}, {}

    def _model(self, arm: Arm) -> Stage:
        start = self.models[arm.start]
        if arm.way == "prompt":
            return start
        source = self.data if arm.of_conversations else self._sampled(f"arms.{arm.name}.data", arm.data)
        common = {"parts": arm.parts, "skip": arm.skip, "conversations": arm.conversations}
        title = f"Training {arm.name} from {'the base' if arm.start == BASE else arm.start}"
        count = arm.conversations or self.settings["conversations"]
        if arm.way == "objective":
            return Stage(
                arm.name,
                f"{STEPS}:train",
                settings={**common, "objective": arm.by, "settings": dict(arm.settings)},
                inputs={"model": start, "data": source},
                title=title,
                why=f"{arm.name} {arm.label}.",
                cost=(0.03 if arm.by == "sft" else 0.06) * float(arm.settings.get("epochs", 1)) * count + 5,
                resumable=True,
            )
        given, inputs = self._reward(arm.reward)
        return Stage(
            arm.name,
            f"{SAMPLED}:loop",
            settings={
                **common, **given, "loop": arm.by, "preferences": arm.preferences, "settings": dict(arm.settings),
            },
            inputs={"model": start, "data": source, **inputs},
            title=title,
            why=f"{arm.name} {arm.label}.",
            cost=120,
            resumable=True,
        )  # fmt: skip

    def _sampled(self, where: str, name: str) -> Stage:
        """Samples that an arm learns from, or that others are made of; each made once."""
        if name not in self.samples:
            entry = samples_entry(self.settings, where, name)
            if entry.get("builder"):
                of = source_of(entry)
                parts = of.split("+") if of_parts(of) else ["train"]
                source = self.data if of_parts(of) else self._sampled(f"samples.{name}.of", of)
                made = built.stage(name, entry, source, self.models, self.settings["seed"], parts)
            else:
                made = self._ranked(name, entry)
            self.samples[name] = made
        return self.samples[name]

    def _ranked(self, name: str, entry: Mapping[str, Any]) -> Stage:
        """Rankings of a model's replies."""
        own = dict(entry)
        start = own.pop("from")
        given, inputs = self._reward(own.pop("reward", None))
        known = {"samples", "conversations", "skip", "validation", "good", "seed"}
        if unknown := own.keys() - known:
            raise HalignError(
                f"samples.{name}: unknown key {min(unknown)!r}; known: from, reward, {', '.join(sorted(known))}"
            )
        return Stage(
            f"samples-{name}",
            f"{SAMPLED}:rank",
            settings={
                **given, "samples": 4, "conversations": None, "skip": 0, "validation": 20, "good": True,
                "seed": self.settings["seed"], "sampling": _without_seed(self.settings["sampling"]), **own,
            },
            inputs={"model": self.models[start], "data": self.data, **inputs},
            title=f"Ranking replies of {start}",
            why="Several replies to each prompt, best first: what reward models and rankings are made of.",
            cost=0.3 * (own.get("conversations") or self.settings["conversations"]) + 5,
        )  # fmt: skip

    def _answers(self, name: str, limit: int | None) -> Stage:
        s, arm = self.settings, self.rows.get(name)
        asked = s["test_prompts"] * len(self.histories)
        own = {k: v for k in ("examples", "round") if arm and (v := getattr(arm, k))}
        return Stage(
            f"{self._named('answers')}-{name}",
            f"{STEPS}:answer",
            settings={
                "split": self.split,
                "histories": self.histories,
                "sampling": dict(s["sampling"]),
                "kl_prompts": s["kl_prompts"],
                **own,
                **({} if limit is None else {"limit": limit}),
            },
            inputs={"model": self.models[name], "reference": self.models[s["reference"]], "data": self.data},
            title=f"{name} answers {asked} customers",
            why="Held-out prompts that no model has seen; every model gets the same ones.",
            cost=0.025 * asked + 5,
        )

    def _grades(self, answers: Mapping[str, Stage], limit: int | None) -> Stage:
        return Stage(
            self._named("grades"),
            f"{STEPS}:judge",
            settings={
                "split": self.split,
                "histories": self.histories,
                **self._truth,
                **({} if limit is None else {"limit": limit}),
            },
            inputs={"data": self.data, **answers},
            title="Grading every reply",
            why="Were all guardrails in force kept? Is the reply natural? Is every stated fact supported?",
            cost=15,
        )

    def _scores(self, name: str, answers: Mapping[str, Stage], limit: int | None) -> Stage:
        given, inputs = self._reward(name)
        return Stage(
            f"{self._named('rewards')}-{name}",
            f"{SAMPLED}:scores",
            settings={
                **given, "split": self.split, "histories": self.histories,
                **({} if limit is None else {"limit": limit}),
            },
            inputs={"data": self.data, **inputs, **{f"answers {n}": a for n, a in answers.items()}},
            title=f"{name} scores every reply",
            why="What the models were rewarded for, beside what is true.",
            cost=15,
        )  # fmt: skip


def build(
    settings: Mapping[str, Any],
    *,
    split: str = "test",
    answered: Collection[str] | None = None,
    limit: int | None = None,
) -> Graph:
    """The stages for resolved settings.

    Args:
        split: whose prompts are answered; tuning asks "validation".
        answered: the models that answer them; None: all.
        limit: of how many prompts of each kind; None: all.

    Raises:
        HalignError: for settings that do not fit together.
    """
    return Builder(settings, split).graph(answered, limit)


def _without_seed(sampling: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in sampling.items() if k != "seed"}
