"""Whole dialogues between a model and simulated users. All of them advance by one turn together, through one call of each side.

FOLDER/rounds-MODEL.jsonl holds one row a turn: what all users said and the model replied in it. It is the only state: a turn that
is not whole on disk is asked again, and since users and samplers draw by turn and place, in the same words. What the turns depend
on is the folder's affair (``halign.begun``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from halign.dialogue import Dialogue, Message
from halign.dialogues.adversary import Speaker
from halign.dialogues.scenarios import Scenario
from halign.judges.records import rows

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


Said = list[list[Any]]
"""One turn of all dialogues that were open, in order: [user's words, changed meta, reply, finished]; [] where the user left."""


def rounds_file(folder: Path, model: str) -> Path:
    """Where the turns of one model stand."""
    plain = re.sub(r"[^\w.-]+", "_", model)
    return folder / f"rounds-{plain}.jsonl"


def read_rounds(file: Path) -> list[Said]:
    """The turns that are whole on disk."""
    return [row["said"] for _, row in rows(file)]


def talk(
    sampler: Any,
    user: Speaker,
    scenarios: Sequence[Scenario],
    settings: TalkSettings,
    before: Iterable[Said] = (),
    *,
    keep: Callable[[Said], None] = lambda said: None,
    watch: Watch = lambda done, total: None,
) -> list[Talk]:
    """All dialogues of one model, from the beginning or from where they stopped.

    Args:
        sampler: the model.
        before: the turns that there are.
        keep: called with each turn that was held, before the next.

    Raises:
        HalignError: as the sampler's and the user's.
    """
    talks = [Talk(s, run, s.begun(run)) for s in scenarios for run in range(settings.runs)]
    for said in before:
        _take([t for t in talks if not t.over], said)
    number = max((len(t.finished) for t in talks), default=0)
    while number < settings.turns and (still := [t for t in talks if not t.over]):
        watch(len(talks) - len(still), len(talks))
        number += 1
        said = _round(still, user, sampler, settings, number)
        keep(said)
        _take(still, said)
    watch(len(talks), len(talks))
    return talks


def _round(talks: Sequence[Talk], user: Speaker, sampler: Any, settings: TalkSettings, number: int) -> Said:
    """What users and model say in one turn."""
    spoken = user.speak([t.dialogue for t in talks])
    asked = [d for d in spoken if d is not None]
    drawn = _replies(sampler, asked, settings, number) if asked else []
    answers = iter(drawn)
    found: Said = []
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
