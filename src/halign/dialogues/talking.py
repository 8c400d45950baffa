"""Whole dialogues between a model and simulated users. All of them advance by one turn together, through one call of each side.

FOLDER/rounds-MODEL.jsonl holds one row a turn: what all users said and the model replied in it. It is the only state: a turn that
is not whole on disk is asked again, and since users and samplers draw by turn and place, in the same words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from halign.dialogue import Dialogue, Message
from halign.dialogues.adversary import Speaker
from halign.dialogues.scenarios import Scenario
from halign.errors import HalignError
from halign.judges.records import append, rows

Watch = Callable[[int, int], None]
"""Called with (dialogues over, dialogues in all)."""


class TalkSettings(BaseModel):
    """How dialogues are held; the model's temperature is 1 by default, since runs that are all alike say nothing about luck."""

    model_config = ConfigDict(extra="forbid")

    runs: int = Field(default=4, ge=1, description="of every scenario")
    turns: int = Field(default=12, ge=1, description="replies of the model in a dialogue at most")
    temperature: float = Field(
        default=1.0, ge=0, description="of the model; 0 takes the likeliest token, always"
    )
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="keep the likeliest tokens up to this probability"
    )
    max_new_tokens: int = Field(default=200, ge=1, description="longest reply, in tokens")
    seed: int = Field(default=0, ge=0, description="for the draws")


@dataclass
class Talk:
    """One run of a scenario.

    Attributes:
        finished: of each reply, False where it was cut off at ``max_new_tokens``.
        over: the user has nothing more to say.
    """

    scenario: Scenario
    run: int
    dialogue: Dialogue
    finished: list[bool] = field(default_factory=list)
    over: bool = False

    @property
    def id(self) -> str:
        """The scenario and the run, from 1."""
        return f"{self.scenario.id}~{self.run + 1}"

    @property
    def replies(self) -> list[int]:
        """Places of the model's replies."""
        return [i for i, m in enumerate(self.dialogue.messages) if m.role == "assistant"]

    def row(self, model: str) -> dict[str, Any]:
        """The canonical row: a conversation."""
        told = {"strategy": self.scenario.strategy, "target": self.scenario.target}
        return {
            "id": f"{self.id}/{model}",
            "guardrails": list(self.dialogue.guardrails),
            "messages": [m.to_dict() for m in self.dialogue.messages],
            "meta": {"scenario": self.scenario.id, "run": self.run + 1, "model": model}
            | {k: v for k, v in told.items() if v},
        }


@dataclass(frozen=True)
class Round:
    """One turn of all dialogues that were open.

    Attributes:
        number: from 1; it also tells a row of this file from another.
        said: of each open dialogue, in order: [user's words, changed meta, reply, finished], or [] where the user left.
    """

    number: int
    identity: str
    said: list[list[Any]]


def talk(
    name: str,
    sampler: Any,
    user: Speaker,
    scenarios: Sequence[Scenario],
    settings: TalkSettings,
    folder: Path,
    *,
    watch: Watch = lambda done, total: None,
) -> list[Talk]:
    """All dialogues of one model, from the beginning or from where the folder stopped.

    Args:
        sampler: the model.

    Raises:
        HalignError: the folder holds dialogues of other scenarios, settings or users; as the sampler's and the user's.
    """
    talks = [Talk(s, run, s.begun(run)) for s in scenarios for run in range(settings.runs)]
    identity = _identity(name, user.name, scenarios, settings)
    file = folder / f"rounds-{_plain(name)}.jsonl"
    for _, row in rows(file):
        if row["identity"] != identity:
            raise HalignError(
                f"{file} holds dialogues with other scenarios, rules, users or settings; take another folder, or --overwrite"
            )
        _take([t for t in talks if not t.over], row["said"])
    number = max((len(t.finished) for t in talks), default=0)
    while number < settings.turns and (still := [t for t in talks if not t.over]):
        watch(len(talks) - len(still), len(talks))
        number += 1
        said = _round(still, user, sampler, settings, number)
        append(file, [Round(number, identity, said)])  # type: ignore[list-item]
        _take(still, said)
    watch(len(talks), len(talks))
    return talks


def _round(
    talks: Sequence[Talk], user: Speaker, sampler: Any, settings: TalkSettings, number: int
) -> list[list[Any]]:
    """What users and model say in one turn."""
    spoken = user.speak([t.dialogue for t in talks])
    asked = [d for d in spoken if d is not None]
    drawn = _replies(sampler, asked, settings, number) if asked else []
    answers = iter(drawn)
    found: list[list[Any]] = []
    for t, d in zip(talks, spoken, strict=True):
        if d is None:
            found.append([])
            continue
        reply = next(answers)
        changed = {k: v for k, v in d.meta.items() if t.dialogue.meta.get(k) != v}
        found.append([d.messages[-1].content, changed, reply.text.strip(), reply.finished])
    return found


def _replies(sampler: Any, asked: Sequence[Dialogue], settings: TalkSettings, number: int) -> list[Any]:
    groups = sampler.sample(
        asked,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_new_tokens=settings.max_new_tokens,
        seed=settings.seed + 7919 * number,
    )
    return [group[0] for group in groups]


def _take(talks: Sequence[Talk], said: Sequence[Sequence[Any]]) -> None:
    """Add a turn to the dialogues that were open."""
    for t, row in zip(talks, said, strict=True):
        if not row:
            t.over = True
            continue
        words, meta, reply, finished = row
        d = replace(t.dialogue, meta={**t.dialogue.meta, **meta})
        t.dialogue = d + Message("user", words) + Message("assistant", reply)
        t.finished.append(finished)


def _identity(name: str, user: str, scenarios: Sequence[Scenario], settings: TalkSettings) -> str:
    """What the dialogues depend on, but for the weights behind a name."""
    words = repr((name, user, [asdict(s) for s in scenarios], settings.model_dump()))
    return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
