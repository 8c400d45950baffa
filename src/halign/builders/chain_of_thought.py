"""Answers that reason before they answer (chain of thought: Wei et al. 2022, arXiv 2201.11903; "Let's think step by step.":
Kojima et al. 2022, arXiv 2205.11916).

A row's answer is divided at ``mark`` into the reasoning and what it comes to ("####" in GSM8K, whose calculator notes <<1+1=2>>
are taken out), and is written as "REASONING The answer is ANSWER." With ``shots`` the prompt shows other rows of the chunk,
worked out, in the paper's "Q: ... A: ..." form; with ``reason=False`` the reasoning is left out of shots and answer, as in the
paper's control.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.builders.turns import Turn, turns
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Demonstration

_NOTES = re.compile(r"<<[^<>]*>>")
UNMARKED, LONELY = (
    "answers without the mark, or without reasoning before it",
    "questions without enough others to show",
)


class Settings(BuilderSettings):
    """Of ``chain_of_thought``."""

    mark: str = Field("####", min_length=1, description="what stands between reasoning and answer")
    shots: int = Field(0, ge=0, description="other rows of the chunk that a prompt shows, worked out")
    trigger: str = Field("", description="words below the question: Let's think step by step.")
    reason: bool = Field(True, description="with the reasoning; False: the answer alone")


@dataclass(frozen=True)
class Worked:
    """A question, its reasoning, and the answer."""

    turn: Turn
    question: str
    reasoning: str
    answer: str

    def solution(self, reason: bool) -> str:
        """The answer in words, with what leads to it."""
        words = f"The answer is {self.answer}."
        return f"{self.reasoning} {words}" if reason else words


def divided(text: str, mark: str) -> tuple[str, str] | None:
    """(reasoning, answer) of a text, divided at the last mark; None if either is missing.

    >>> divided("48/2 = <<48/2=24>>24 clips.\\n#### 24", "####")
    ('48/2 = 24 clips.', '24')
    """
    before, found, after = text.rpartition(mark)
    reasoning, answer = _NOTES.sub("", before).strip(), after.strip().rstrip(".")
    return (reasoning, answer) if found and reasoning and answer else None


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """Every question with its worked answer."""
    made = Made()
    worked: list[Worked] = []
    for turn in turns(rows):
        answer = turn.answer
        parts = divided(answer.content, settings.mark) if answer is not None else None
        if parts is None:
            made.dropped[UNMARKED] += 1
        else:
            worked.append(Worked(turn, turn.prompt.messages[-1].content.strip(), *parts))
    for one in worked:
        others = [w for w in worked if w.question != one.question]
        if len(others) < settings.shots:
            made.dropped[LONELY] += 1
            continue
        shown = tools.draws(one.turn.row.number, len(one.turn.prompt)).sample(others, settings.shots)
        made.built.append(_built(one, shown, settings))
    return made


def _built(one: Worked, shown: Sequence[Worked], settings: Settings) -> Built:
    asked = "\n".join(filter(None, (one.question, settings.trigger)))
    if shown:
        shots = [f"Q: {w.question}\nA: {w.solution(settings.reason)}" for w in shown]
        asked = "\n\n".join([*shots, f"Q: {asked}\nA:"])
    *before, _ = one.turn.prompt.messages
    prompt = Dialogue((*before, Message("user", asked)), one.turn.prompt.guardrails)
    example = Demonstration(
        prompt + Message("assistant", one.solution(settings.reason)),
        one.turn.conversation,
        (len(prompt),),
        weight=1.0 if one.turn.row.example is None else one.turn.row.example.weight,
    )
    rows = tuple({r.number: r for r in (one.turn.row, *(w.turn.row for w in shown))}.values())
    return Built(example, rows, columns={"answer": one.answer})


BUILDER = Builder(
    "chain_of_thought",
    "answers that reason before they answer, with worked examples if wished",
    Settings,
    build,
    chat=True,
)
