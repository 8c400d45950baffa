"""``policy_chats``: a policy alone -> conversations of customers with an agent who keeps it, for those who have no logs.

Source: arXiv 2406.18954, section V-A, which fills up its data with made conversations. A writer invents them from drawn rules,
each with another customer. Rules alone string together the lines that the checks of the policy suggest: that shows every rule at
work and teaches its wording, but every customer is the same stranger. Such rows say ``"made": "template"``.

Where a check finds that a turn of the agent's breaks a rule, a writer's conversation is left out, and one of templates ends
before that turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.guardrails.contract import Guardrail, Verdict
from halign.builders.guardrails.contract import Turn as Stands
from halign.builders.guardrails.policy import Policy, read_policy
from halign.builders.policy_templates import template_chat
from halign.builders.tools import Tools
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Demonstration
from halign.judges.questions import filled

MOODS = (
    *(
        "friendly and brief",
        "impatient",
        "confused, and says so",
        "talkative",
        "worried",
        "formal",
        "sceptical",
    ),
    *("annoyed about earlier service", "in a hurry", "unsure what exactly is wanted", "well prepared"),
)
TWISTS = (
    *("gives a wrong detail first and corrects it", "asks for something that the rules do not allow"),
    *("changes the request midway", "asks a side question", "has two requests"),
    *("wants to know why a detail is needed", "has nothing unusual to say"),
)
ASKING = """\
Write a realistic chat between a customer and a customer-care agent{% if subject %} about: {{ subject }}{% endif %}.
The customer is {{ mood }} and {{ twist }}. The customer begins. Turns alternate, {{ turns }} turns in all.

The agent keeps these rules, wherever they apply:
{{ rules }}

Invent names, numbers and facts as needed. The agent never mentions the rules."""


class Turn(BaseModel):
    """One turn."""

    role: Literal["customer", "agent"]
    content: str = Field(min_length=1)


class Chat(BaseModel):
    """What the writer is asked for."""

    turns: list[Turn] = Field(min_length=2)


class PolicyChatsSettings(BuilderSettings):
    """Settings of the builder."""

    count: int = Field(100, ge=1, description="conversations")
    rules: int = Field(
        6, ge=1, description="rules that are drawn for a conversation, of one section and of all sections"
    )
    turns: int = Field(10, ge=2, description="turns that a writer is asked for")
    max_new_tokens: int = Field(1500, ge=1, description="longest answer of a writer, in tokens")


def read(file: str, settings: PolicyChatsSettings) -> Iterator[Row]:
    """One row for each conversation that is to be made, each of number 0: it is made of the whole document."""
    _document.cache_clear()
    for i in range(settings.count):
        yield Row(0, {"policy": file}, None, Dialogue(()), f"chat-{i + 1}")


@lru_cache(maxsize=1)
def _document(file: str) -> Policy:
    return read_policy(Path(file))


def build(rows: Sequence[Row], settings: PolicyChatsSettings, tools: Tools) -> Made:
    """One chunk of conversations."""
    policy = _document(rows[0].row["policy"])
    drawn = [rules_for(row.conversation, policy, settings.rules, tools) for row in rows]
    if tools.writer is None:
        return _by_templates(rows, drawn, tools)
    made = Made()
    prompts = [
        _prompt(row.conversation, rules, settings, tools) for row, rules in zip(rows, drawn, strict=True)
    ]
    answers = tools.fill(prompts, Chat, temperature=1.0, max_new_tokens=settings.max_new_tokens)
    for row, rules, answer in zip(rows, drawn, answers, strict=True):
        turns = [] if answer is None else answer.value.turns
        if answer is None:
            made.dropped["no answer"] += 1
        elif problem := wrong(turns):
            made.dropped[problem] += 1
        else:
            said = [
                Message("user" if t.role == "customer" else "assistant", t.content.strip()) for t in turns
            ]
            if breaks(said, rules) is None:
                made.built.append(_built(row, rules, said, "writer", (answer.key,)))
            else:
                made.dropped["the agent breaks a rule, by its check"] += 1
    return made


def wrong(turns: Sequence[Turn]) -> str:
    """Why a conversation will not do; '' if it will."""
    if turns[0].role != "customer":
        return "the agent begins"
    if any(a.role == b.role for a, b in itertools.pairwise(turns)):
        return "turns do not alternate"
    return "" if any(t.role == "agent" for t in turns) else "no agent turn"


def breaks(said: Sequence[Message], rules: Sequence[Guardrail]) -> int | None:
    """Place of the first turn of the agent's that breaks a rule by its check; None if there is none."""
    checks = [g.check for g in rules if g.check is not None]
    for place, message in enumerate(said):
        if message.role == "assistant":
            stands = Stands(said[:place], message.content)
            if any(c.judge(stands, message.content) is Verdict.BROKEN for c in checks):
                return place
    return None


def rules_for(name: str, policy: Policy, most: int, tools: Tools) -> list[Guardrail]:
    """The rules of one drawn task or section and those that have neither, ``most`` of them, in the policy's order."""
    draws = tools.draws(name, "rules")
    places = sorted({_place(g) for g in policy.guardrails if _place(g)})
    place = draws.choice(places) if places else ""
    near = [i for i, g in enumerate(policy.guardrails) if _place(g) in (place, "")]
    checked = [i for i in near if policy.guardrails[i].check is not None]
    kept = checked if len(checked) <= most else draws.sample(checked, most)
    rest = [i for i in near if i not in kept]
    kept = [*kept, *draws.sample(rest, min(len(rest), most - len(kept)))]
    return [policy.guardrails[i] for i in sorted(kept)]


def _place(g: Guardrail) -> str:
    return g.tasks[0] if g.tasks else g.section


def _prompt(name: str, rules: Sequence[Guardrail], settings: PolicyChatsSettings, tools: Tools) -> Dialogue:
    draws = tools.draws(name, "customer")
    words = filled(
        ASKING,
        subject=subject(rules),
        mood=draws.choice(MOODS),
        twist=draws.choice(TWISTS),
        turns=str(settings.turns),
        rules="\n".join(f"- {g.text}" for g in rules),
    )
    return Dialogue((Message("user", words),))


def subject(rules: Sequence[Guardrail]) -> str:
    """What a conversation is about: the task or section that its rules share."""
    found = next((_place(g) for g in rules if _place(g)), "")
    return found.replace("_", " ").replace(" / ", ", ")


def _by_templates(rows: Sequence[Row], drawn: Sequence[Sequence[Guardrail]], tools: Tools) -> Made:
    made = Made()
    for row, rules in zip(rows, drawn, strict=True):
        said = template_chat(subject(rules), rules, tools.draws(row.conversation, "template"))
        if (place := breaks(said, rules)) is not None:
            said = said[: place - 1]
        if said:
            made.built.append(_built(row, rules, said, "template"))
        else:
            made.dropped["no rule with a line for the agent: a model would be needed"] += 1
    return made


def _built(
    row: Row, rules: Sequence[Guardrail], said: list[Message], how: str, keys: tuple[str, ...] = ()
) -> Built:
    dialogue = Dialogue(tuple(said), guardrails=tuple(g.text for g in rules))
    tasks = list(dict.fromkeys(t for g in rules for t in g.tasks))
    return Built(Demonstration(dialogue, row.conversation), (row,), keys, {"made": how, "tasks": tasks})


def notes(settings: Any, prepared: Any, tallies: Any) -> list[str]:
    """What templates are not."""
    return [
        "Conversations of templates (made: template) show rules at work; only those that a model writes (--model, or --endpoint) "
        "have customers who differ."
    ]


BUILDER = Builder(
    "policy_chats",
    "a policy alone -> made conversations that keep it",
    PolicyChatsSettings,
    build,
    uses=("writer",),
    read=read,
    notes=notes,
)
