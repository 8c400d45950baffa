"""The two stages of the data of arXiv 2406.18954 (section V-A): which agent turns follow which guardrail, and for each such turn
a reply that clearly breaks it.

Where a guardrail has a check, the check decides both and its templates break it, or the writer does if it is told to. Where it
has none, the writer tags and breaks, and the judge is asked whether the reply does break it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import BaseModel, Field

from halign.builders.guardrails.contract import Guardrail, Turn, Verdict
from halign.builders.guardrails.lexicon import words
from halign.builders.guardrails.policy import Policy, of_text
from halign.builders.tools import Tools
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Demonstration
from halign.judges.questions import filled, transcript

TAGGING = """\
Below are an agent's rules and a conversation whose agent turns are numbered. Which turns follow which rule? Name a turn only if
the rule applies at that very turn and the agent keeps it by what is said there, not where the rule has no occasion.

Rules:
{{ rules }}

Conversation:
{{ conversation }}"""

BREAKING = """\
An agent must keep this rule: {{ rule }}

Conversation so far:
{{ conversation }}

A good agent would reply:
{{ good }}

For training data we need the opposite. Write the reply of an agent who clearly breaks the rule at this point: fluent, about the
same subject and of a similar length, so that the broken rule is the only difference. Write the reply and nothing else."""

JUDGING = """\
An agent must keep this rule: {{ rule }}

Conversation so far:
{{ conversation }}

Reply:
{{ reply }}

Does this reply clearly break the rule?"""


class Tag(BaseModel):
    """One turn that follows one rule."""

    turn: int = Field(description="number of the agent's turn")
    rule: str = Field(description="id of the rule")


class Tags(BaseModel):
    """What the writer is asked for in the first stage."""

    tags: list[Tag]


@dataclass
class Tagged:
    """A turn that follows a guardrail.

    Attributes:
        place: index of the message.
        broken: the reply that breaks it, once there is one.
        replies: keys of what was asked for it.
    """

    row: Row
    place: int
    guardrail: Guardrail
    broken: str = ""
    replies: tuple[str, ...] = ()

    @property
    def good(self) -> str:
        """What the agent said there."""
        return self.row.dialogue.messages[self.place].content

    @property
    def turn(self) -> Turn:
        """Where it stands."""
        return Turn(self.row.dialogue.messages[: self.place], self.good)

    @property
    def prompt(self) -> Dialogue:
        """What was said before, without guardrails."""
        return replace(self.row.dialogue[: self.place], guardrails=())


def applicable(row: Row, policy: Policy | None) -> list[Guardrail]:
    """The guardrails of the policy for this row's tasks, or those that the conversation carries itself."""
    if policy is None:
        found = [of_text(text) for text in row.dialogue.guardrails]
        return [g for g in found if g is not None]
    said = row.row.get("tasks") or row.row.get("task") or ()
    tasks = {_plain(t) for t in ([said] if isinstance(said, str) else said)}
    return [g for g in policy.guardrails if not g.tasks or tasks & {_plain(t) for t in g.tasks}]


def _plain(task: object) -> str:
    return re.sub(r"\W+", "_", str(task).lower())


def tag(
    rows: Sequence[Row],
    rules: Mapping[int, Sequence[Guardrail]],
    tools: Tools,
    everywhere: int,
    dropped: Counter[str],
) -> list[Tagged]:
    """Stage 1: the turns that follow a rule, by the checks and, of rules without one, by the writer if there is one.

    Args:
        rules: number of a row -> the rules that apply to it.
        everywhere: turns a conversation that are tagged of a rule that applies everywhere.
    """
    tagged = [t for row in rows for t in tag_by_checks(row, rules[row.number], tools, everywhere)]
    if tools.writer is not None:
        unchecked = [(row, [g for g in rules[row.number] if g.check is None]) for row in rows]
        tagged += tag_by_writer([(row, some) for row, some in unchecked if some], tools, dropped)
    return tagged


def tag_by_checks(row: Row, rules: Sequence[Guardrail], tools: Tools, everywhere: int) -> list[Tagged]:
    """Every turn at which a check finds its rule followed; of rules that apply everywhere, ``everywhere`` drawn turns."""
    messages, places = row.dialogue.messages, agent_turns(row)
    found = []
    for g in rules:
        if g.check is None:
            continue
        kept = [
            i
            for i in places
            if g.check.judge(Turn(messages[:i], messages[i].content), messages[i].content) is Verdict.KEPT
        ]
        if g.check.everywhere and len(kept) > everywhere:
            kept = sorted(tools.draws(row.conversation, g.id).sample(kept, everywhere))
        found += [Tagged(row, i, g) for i in kept]
    return sorted(found, key=lambda t: t.place)


def agent_turns(row: Row) -> list[int]:
    """Places of the agent's turns that may stand as the better reply: they say something, and of a demonstration they are learnt
    (a turn that somebody gave the weight 0 is no model of anything)."""
    example = row.example
    taught = example.turns if isinstance(example, Demonstration) else None
    return [
        i
        for i, m in enumerate(row.dialogue.messages)
        if m.role == "assistant" and m.content.strip() and (taught is None or i in taught)
    ]


def tag_by_writer(
    asked: Sequence[tuple[Row, Sequence[Guardrail]]], tools: Tools, dropped: Counter[str]
) -> list[Tagged]:
    """The turns that the writer names, of rules without a check; one question a conversation."""
    prompts = [_as_prompt(TAGGING, rules=_listed(rules), conversation=_numbered(row)) for row, rules in asked]
    found = []
    for (row, rules), answer in zip(asked, tools.fill(prompts, Tags, temperature=0.0), strict=True):
        if answer is None:
            dropped["stage 1: no answer"] += 1
            continue
        known, places = {g.id: g for g in rules}, agent_turns(row)
        for tag in dict.fromkeys((t.turn, t.rule) for t in answer.value.tags):
            place, rule = tag
            if rule not in known or place not in places:
                dropped["stage 1: no such turn or rule"] += 1
                continue
            found.append(Tagged(row, place, known[rule], replies=(answer.key,)))
    return found


def break_by_rules(tagged: Tagged, tools: Tools, dropped: Counter[str]) -> None:
    """The first template of the check that it judges to break the rule."""
    check = tagged.guardrail.check
    assert check is not None, "only rules with a check are broken by rules"
    turn = tagged.turn
    draws = tools.draws(tagged.row.conversation, tagged.place, tagged.guardrail.id)
    for reply in check.breaking(turn, draws):
        if accepted(tagged, reply) and check.judge(turn, reply) is Verdict.BROKEN:
            tagged.broken = reply
            return
    dropped[f"stage 2: no template breaks it ({check.kind})"] += 1


def break_by_writer(tagged: Sequence[Tagged], tools: Tools, dropped: Counter[str], least: float) -> None:
    """The writer's reply, where the check says that it breaks the rule, or the judge with at least this probability."""
    prompts = [
        _as_prompt(BREAKING, rule=t.guardrail.text, conversation=transcript(t.prompt), good=t.good)
        for t in tagged
    ]
    unsure: list[tuple[Tagged, str]] = []
    for t, group in zip(tagged, tools.write(prompts, temperature=1.0), strict=True):
        reply = group[0].text.strip() if group else ""
        t.replies = (*t.replies, *(w.key for w in group if w.key))
        if not group:
            dropped["stage 2: no answer"] += 1
        elif not group[0].finished:
            dropped["stage 2: cut off"] += 1
        elif not accepted(t, reply):
            dropped["stage 2: equals the good reply"] += 1
        elif t.guardrail.check is None:
            unsure.append((t, reply))
        elif t.guardrail.check.judge(t.turn, reply) is Verdict.BROKEN:
            t.broken = reply
        else:
            dropped["stage 2: the check does not find it broken"] += 1
    _verify(unsure, tools, dropped, least)


def _verify(unsure: Sequence[tuple[Tagged, str]], tools: Tools, dropped: Counter[str], least: float) -> None:
    """A second judgement of what no check can judge."""
    if tools.judge is None:
        dropped["stage 2: no check and no judge to verify it"] += len(unsure)
        return
    questions = [
        filled(JUDGING, rule=t.guardrail.text, conversation=transcript(t.prompt), reply=reply)
        for t, reply in unsure
    ]
    for (t, reply), chance in zip(unsure, tools.ask(questions), strict=True):
        if chance is None:
            dropped["stage 2: no verdict"] += 1
            continue
        t.replies = (*t.replies, *chance.keys)
        if chance.yes >= least:
            t.broken = reply
        else:
            dropped["stage 2: the judge does not find it broken"] += 1


def accepted(tagged: Tagged, reply: str) -> bool:
    """True if a reply says something, and other words than the good one (marks alone count where there are other marks)."""
    return bool(words(reply)) and " ".join(reply.split()) != " ".join(tagged.good.split())


def _as_prompt(template: str, **said: str) -> Dialogue:
    return Dialogue((Message("user", filled(template, **said)),))


def _listed(rules: Sequence[Guardrail]) -> str:
    return "\n".join(f"{g.id}: {g.text}" for g in rules)


def _numbered(row: Row) -> str:
    """The conversation, agent turns with their place."""
    return "\n\n".join(
        f"agent, turn {i}: {m.content}" if m.role == "assistant" else f"{m.role}: {m.content}"
        for i, m in enumerate(row.dialogue.messages)
    )
