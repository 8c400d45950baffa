"""An arm of a table of models: how one of its models is made, as the YAML has it.

SFT: {from: base, objective: sft, learning_rate: 2e-4}          trained by an objective, on conversations
RM:  {from: SFT, objective: reward, data: rankings}             a reward model, on ranked samples
Ask: {from: base, objective: sft, roles: [user]}                a model of users, for a builder's ``models``
PPO: {from: SFT, loop: ppo, reward: RM, kl: 0.1}                trained by a loop; a reward model's arm, `judge`, or words
few: {from: base, prompt: few_shot, examples: 3}                not trained: three examples stand before the conversation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from halign.errors import HalignError
from halign.recipes.loop_settings import loop_settings

WAYS = ("objective", "loop", "prompt")
PROMPTS = ("zero_shot", "few_shot")
PARTS = ("train", "feedback")
"""Files of the data stage that an arm may learn from; several are joined by +."""
JUDGE, REWARD = "judge", "reward"
"""Rewards by name: the judge that grades the table, and the recipe's own setting ``reward``."""

LABELS = {
    "sft": "imitates good replies",
    "ipo": "prefers good replies over broken ones (IPO)",
    "kto_pair": "prefers good replies over broken ones (KTO, paired)",
    "dpo": "prefers good replies over broken ones (DPO)",
    "reward": "learns which of several replies is better (a reward model)",
    "zero_shot": "is asked as it is",
    "few_shot": "reads examples from the training data before each conversation",
}


@dataclass(frozen=True)
class Arm:
    """One model of the table.

    Attributes:
        start: the arm whose model it starts from.
        way, by: one of ``WAYS``, and which objective, loop or kind of prompt.
        data: parts of the conversations, joined by +, or the name of samples.
        conversations, skip: how many of its examples it learns from (None: all), and how many before them it leaves out.
        reward, preferences: of a loop: an arm that is a reward model, ``judge``, or words; None for the recipe's own.
        examples: of a few-shot prompt.
        every_round: of a loop of rounds: every round's model is a row of the table, not only the last one's.
        round: of such a row: which one, from 1; None: the last.
        told: what is said of it, where ``about`` in the YAML says so.
        settings: everything else: of the objective and training, or of the loop.
    """

    name: str
    start: str
    way: str
    by: str
    data: str = "train"
    conversations: int | None = None
    skip: int = 0
    reward: Any = None
    preferences: Any = None
    examples: int = 0
    every_round: bool = False
    round: int | None = None
    told: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, entry: Mapping[str, Any]) -> Arm:
        """An arm as the YAML has it.

        Raises:
            HalignError: if it does not say where it starts and in which one way it is made.
        """
        own = dict(entry)
        ways = [w for w in WAYS if own.get(w) is not None]
        if ways == ["objective", "loop"]:  # with which a loop's rounds train
            ways = ["loop"]
        if len(ways) != 1 or not own.get("from"):
            raise HalignError(f"arms.{name}: from: (a model) and one of {', '.join(WAYS)} are needed")
        framed = (
            "data",
            "conversations",
            "skip",
            *(("reward", "preferences", "every_round") if ways[0] == "loop" else ()),
        )
        given = {k: v for k in framed if (v := own.pop(k, None)) is not None}
        arm = cls(
            name, own.pop("from"), ways[0], own[ways[0]], told=own.pop("about", "") or "", **given,
            examples=own.pop("examples", 2) if own.get("prompt") == "few_shot" else 0,
            settings={k: v for k, v in own.items() if k not in WAYS or (k, ways[0]) == ("objective", "loop")},
        )  # fmt: skip
        if arm.way == "prompt" and (arm.by not in PROMPTS or arm.settings):
            raise HalignError(
                f"arms.{name}: prompt: {' or '.join(PROMPTS)}, and examples: of the latter; nothing is trained"
            )
        return arm

    @property
    def parts(self) -> list[str]:
        """Files of its data's folder, without their ending."""
        return self.data.split("+") if self.of_conversations else ["train"]

    @property
    def of_conversations(self) -> bool:
        """True if it learns from the conversations, False if from samples."""
        return of_parts(self.data)

    @property
    def earlier_rounds(self) -> list[Arm]:
        """Rows for the models after each round but the last, if they are wanted."""
        if not self.every_round:
            return []
        from halign.loops import find

        field = find(self.by).settings.model_fields.get("rounds")
        if field is None:
            raise HalignError(f"arms.{self.name}.every_round: the loop {self.by} has no rounds")
        rounds = int(self.settings.get("rounds", field.default))
        return [replace(self, name=f"{self.name} {n}", round=n) for n in range(1, rounds)]

    @property
    def is_reward(self) -> bool:
        """True if it is a reward model, which answers nobody."""
        from halign.config import parse_objective
        from halign.objectives.registry import find

        return self.way == "objective" and any(find(name).reads_values for name in parse_objective(self.by))

    @property
    def is_user(self) -> bool:
        """True if it learns users' turns alone, and so speaks as a user."""
        roles = self.settings.get("roles", ())
        return self.way == "objective" and ([roles] if isinstance(roles, str) else list(roles)) == ["user"]

    @property
    def answers(self) -> bool:
        """True if its model can be asked for an assistant's reply."""
        return not self.is_reward and not self.is_user

    @property
    def label(self) -> str:
        """What it does, to stand after its name."""
        verb = "is trained by the loop" if self.way == "loop" else "is trained by"
        return self.told or LABELS.get(self.by, f"{verb} {self.by}")


def all_arms(settings: Mapping[str, Any]) -> dict[str, Arm]:
    """The arms of resolved settings, in order, without those that were set to null.

    Raises:
        HalignError: for one that starts from, or learns with, what does not come before it.
    """
    arms: dict[str, Arm] = {}
    for name, entry in settings["arms"].items():
        if entry is None:
            continue
        arm = Arm.of(name, _complete(entry, settings))
        _check_earlier(f"arms.{name}.from", arm.start, arms)
        if not arm.of_conversations:
            for where, needed in behind(settings, f"arms.{name}.data", arm.data).items():
                _check_earlier(where, needed, arms, users=".models." in where)
        arms[name] = arm
    return arms


def samples_entry(settings: Mapping[str, Any], where: str, name: str) -> Mapping[str, Any]:
    """The samples of that name; ``where`` they are asked for goes into the message.

    Raises:
        HalignError: if there are none of that name, or they are of no model.
    """
    known = {n: e for n, e in settings["samples"].items() if e is not None}
    if name not in known:
        there = ", ".join((*PARTS, "+".join(PARTS), *known))
        raise HalignError(f"{where}: {name!r} is none of {there}")
    found: Mapping[str, Any] = known[name]
    if not found.get("from") and not found.get("builder"):
        raise HalignError(
            f"samples.{name}: from: is needed, the model whose replies are ranked, or a builder: that makes them"
        )
    return found


def source_of(entry: Mapping[str, Any]) -> str:
    """What samples are made of: parts of the conversations, or other samples."""
    return entry.get("of") or "train"


def of_parts(data: str) -> bool:
    """True of parts of the conversations joined by +, False of samples."""
    return all(p in PARTS for p in data.split("+"))


def behind(settings: Mapping[str, Any], where: str, name: str, seen: Sequence[str] = ()) -> dict[str, str]:
    """Where it is said -> the arms with whose models samples are made, and the samples that those are made of.

    Raises:
        HalignError: as ``samples_entry``; for samples that are made of themselves.
    """
    if name in seen:
        raise HalignError(f"{where}: {' of '.join((*seen, name))}: made of themselves")
    entry = samples_entry(settings, where, name)
    found = {f"samples.{name}.from": entry["from"]} if entry.get("from") else {}
    found |= {f"samples.{name}.models.{k}": v for k, v in (entry.get("models") or {}).items()}
    if not of_parts(source_of(entry)):
        found |= behind(settings, f"samples.{name}.of", source_of(entry), (*seen, name))
    return found


def _complete(entry: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """An arm's entry with what holds for all arms where it says nothing."""
    shared = {"seed": settings["seed"], **settings["training"]}
    if entry.get("loop") is not None:
        return loop_settings(entry["loop"], {**settings["loops"], **entry}, shared)
    if entry.get("objective") is not None:
        own = {"conversations": settings["sft_conversations"]} if entry["objective"] == "sft" else {}
        return {**shared, **own, **entry}
    return dict(entry)


def _check_earlier(where: str, name: str, arms: Mapping[str, Arm], users: bool = False) -> None:
    """``users``: models that speak as users will do as well."""
    there = ["base", *(a.name for a in arms.values() if a.answers or (users and a.is_user))]
    if name not in there:
        raise HalignError(f"{where}: {name!r} is not an earlier model; there is {', '.join(there)}")


def check_settings(arms: Sequence[Arm]) -> None:
    """Mistakes in an arm's own settings, told before anything is made.

    Raises:
        HalignError: for one that its objective or loop does not take; the message names the arm.
    """
    from halign.config import resolve
    from halign.loops import registry

    for arm in arms:
        try:
            if arm.way == "objective":
                resolve(arm.by, dict(arm.settings))
            elif arm.way == "loop":
                registry.resolve(registry.find(arm.by), arm.settings)
        except HalignError as error:
            raise HalignError(f"arms.{arm.name}: {error}") from error
