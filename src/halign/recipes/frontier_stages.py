"""The stages of ``frontier``: what is made of what."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from halign.recipes.frontier_methods import Method, spending
from halign.recipes.origins import base_stage, data_stage, world_version
from halign.recipes.stages import Stage

STEPS = "halign.recipes.frontier_steps"
START = "start"
Point = tuple[str, float, int]
"""(method, value of its strength, seed)."""


class Stages:
    """The stages for some settings.

    Args:
        methods: those of the settings.
    """

    def __init__(self, settings: Mapping[str, Any], methods: list[Method]) -> None:
        self.settings, self.methods = settings, methods
        self.histories = list(settings["histories"]) if settings["data"] is None else ["given"]

    @cached_property
    def data(self) -> Stage:
        return data_stage(self.settings, self.histories)

    @cached_property
    def start(self) -> Stage:
        """The model that every method starts from, and the reference of all KL."""
        s = self.settings
        if not s["sft_conversations"]:
            return base_stage(s)
        return Stage(
            START,
            "halign.recipes.steps:train",
            settings={
                "objective": "sft",
                "conversations": s["sft_conversations"],
                "settings": {"seed": s["seed"], **s["training"], **s["sft"]},
            },
            inputs={"model": base_stage(s), "data": self.data},
            title="Training the model that every method starts from",
            why="It imitates the good replies of some conversations; the methods learn from prompts of the others.",
            cost=0.03 * s["sft_conversations"] + 5,
            resumable=True,
        )

    @property
    def _rewarded(self) -> dict[str, Any]:
        return {"reward": self.settings["reward"], "world_version": world_version(self.settings["world"])}

    @cached_property
    def replies(self) -> Stage:
        """Ranked replies of the start model to training prompts."""
        s = self.settings
        return Stage(
            "replies",
            f"{STEPS}:replies",
            settings={
                **self._rewarded,
                "skip": s["sft_conversations"],
                "prompts": s["budget"]["prompts"],
                "samples": s["budget"]["samples"],
                "sampling": dict(s["sampling"]),
                "seed": s["seed"],
            },
            inputs={"model": self.start, "data": self.data},
            title="Sampling and ranking replies to training prompts",
            why="What offline methods and the reward model learn from; loops get the prompts.",
            cost=0.02 * s["budget"]["prompts"] * s["budget"]["samples"] + 5,
        )

    @cached_property
    def learned(self) -> Stage:
        """The reward model."""
        s = self.settings
        return Stage(
            "learned",
            "halign.recipes.steps:train",
            settings={
                "objective": "reward",
                "settings": {"seed": s["seed"], **s["training"], **s["learned"]},
            },
            inputs={"model": self.start, "data": self.replies},
            title="Training a reward model on the rankings",
            why="It stands in for the truth, which nobody has in practice: what is lost by maximising it?",
            cost=0.06 * s["budget"]["prompts"] * s["learned"].get("epochs", 1) + 5,
            resumable=True,
        )

    def trained(self, name: str, value: float, seed: int) -> Stage:
        """One method at one strength with one seed; ``START``: the model that all start from."""
        if name == START:
            return self.start
        m = next(m for m in self.methods if m.name == name)
        label = f"{name}-{m.strength}={value:g}-{seed}"
        given = {**m.given(value, self.settings["budget"]), "seed": seed}
        if m.loop:
            return self.looped(label, m.loop, self.start, given, f"{m.label(value)}, seed {seed}")
        s = self.settings
        return Stage(
            label,
            f"{STEPS}:offline",
            settings={
                "objective": m.objective,
                "form": m.form,
                "updates": s["budget"]["updates"],
                "settings": {**s["training"], **given},
            },
            inputs={"model": self.start, "replies": self.replies},
            title=f"Training {m.label(value)}, seed {seed}",
            why="Offline, on ranked replies of the start model.",
            cost=0.3 * s["budget"]["updates"] + 3,
        )

    def looped(
        self, label: str, loop: str, model: Stage, given: Mapping[str, Any], title: str, learned: bool = False
    ) -> Stage:
        """One run of a loop, against the true reward or the learned one."""
        return Stage(
            label,
            f"{STEPS}:online",
            settings={
                "loop": loop,
                **({"reward": None, "world_version": None} if learned else self._rewarded),
                "settings": {**{k: v for k, v in self.settings["sampling"].items() if k != "top_k"}, **given},
            },
            inputs={
                "model": model,
                "replies": self.replies,
                **({"learned": self.learned} if learned else {}),
            },
            title=f"Training {title}",
            why="It samples its own replies as it learns.",
            cost=1.5 * self.settings["budget"]["updates"] + 3,
            resumable=True,
        )

    @property
    def segments(self) -> list[int]:
        """Updates after which the loop against the learned reward is looked at."""
        return list(self.settings["over"]["updates"])

    def over(self, number: int) -> Stage:
        """The loop against the learned reward up to the updates of a segment: it goes on from the segment before.

        Adam's moments start anew with each segment. That is exact otherwise because there is no KL penalty, whose reference would
        otherwise be the segment's own start.
        """
        s, over = self.settings, self.settings["over"]
        before = self.segments[number - 1] if number else 0
        updates = self.segments[number] - before
        each = s["budget"]["prompts"] // s["budget"]["updates"]
        budget = {"prompts": each * updates, "updates": updates, "samples": s["budget"]["samples"]}
        own = dict(over["settings"])
        return self.looped(
            f"over-{self.segments[number]}",
            over["loop"],
            self.over(number - 1) if number else self.start,
            {**spending(over["loop"], own, budget), **own, "seed": s["seed"] + number},
            f"{over['loop']} against the reward model, up to update {self.segments[number]}",
            learned=True,
        )

    def pool(self, history: str) -> Stage:
        """Many samples of the start model for each test prompt."""
        s = self.settings
        return self._said(
            f"pool-{history}", self.start, "test", history, s["pool"], s["seed"] + 1000, 1.0, kl=False
        )

    def answers(
        self, model: Stage, point: Point, split: str, history: str, temperature: float = 1.0
    ) -> Stage:
        """Replies of a trained model to the prompts of a split; at temperature 0 one, since all are the same."""
        test = self.settings["test"]
        name, value, seed = point
        heat = "" if temperature == 1.0 else f"-t={temperature:g}"
        label = f"said-{split}-{history}-{name}-{value:g}-{seed}{heat}"
        samples = test["samples"] if temperature and split == "test" else 1
        kl = temperature == 1.0 and split == "test" and name != START
        return self._said(label, model, split, history, samples, 100 + seed, temperature, kl)

    def over_answers(self, number: int, history: str) -> Stage:
        """Replies of the loop against the learned reward, after a segment."""
        label = f"said-test-{history}-over-{self.segments[number]}"
        samples = self.settings["test"]["samples"] * len(self.settings["seeds"])
        return self._said(label, self.over(number), "test", history, samples, 100, 1.0, kl=True)

    def _said(
        self,
        label: str,
        model: Stage,
        split: str,
        history: str,
        samples: int,
        seed: int,
        temperature: float,
        kl: bool,
    ) -> Stage:
        s = self.settings
        count = s["test_prompts"] if split == "test" else s["test"]["validation_prompts"]
        return Stage(
            label,
            f"{STEPS}:said",
            settings={
                "split": split,
                "history": history,
                "prompts": count,
                "samples": samples,
                "sampling": {**s["sampling"], "temperature": temperature},
                "seed": seed,
                **self._rewarded,
            },
            inputs={"model": model, "data": self.data, **({"reference": self.start} if kl else {})},
            title=f"Asking {label.removeprefix('said-')}",
            why="Held-out prompts, the same for all.",
            cost=0.02 * count * samples + 2,
        )

    def learned_of(self, said: Stage, history: str) -> Stage:
        """What the reward model says of replies to test prompts."""
        return Stage(
            f"learned-{said.name}",
            f"{STEPS}:scored",
            settings={"split": "test", "history": history},
            inputs={"learned": self.learned, "said": said, "data": self.data},
            title=f"Scoring {said.name.removeprefix('said-')} with the reward model",
            cost=0.01 * self.settings["test_prompts"] * self.settings["pool"] + 2,
        )
