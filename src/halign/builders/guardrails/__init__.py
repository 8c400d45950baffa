"""``guardrails``: conversations and a policy -> the same conversations with replies that break the policy's rules.

Source: arXiv 2406.18954, section V-A (880 conversations became 8,457 items, one for each turn that follows a guardrail). There
people and a model wrote; here rules and templates do as far as a rule has a check, and a writer and a judge where there are some.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from halign.builders.contract import QUIET, Builder, BuilderSettings, Built, Made
from halign.builders.guardrails.contract import Guardrail
from halign.builders.guardrails.policy import Policy, read_policy
from halign.builders.guardrails.stages import (
    Tagged,
    applicable,
    break_by_rules,
    break_by_writer,
    tag,
)
from halign.builders.tools import Tools
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Alternative, Conversation, Preference

UNCHECKED = f"{QUIET}no check: "
SHOWN = 10
"""Rules without a check that the report spells out."""


class GuardrailsSettings(BuilderSettings):
    """Settings of the builder."""

    policy: Path | None = Field(
        None,
        description="policy document (.md, .txt, .yaml, .json); unset: the rules that each conversation carries",
    )
    form: Literal["conversations", "pairs"] = Field(
        "conversations",
        description="one conversation with alternatives at its tagged turns, or one pair a tagged turn",
    )
    show: Literal["all", "followed"] = Field(
        "all",
        description="which rules stand in the prompt: all that apply to the conversation, or those followed in it",
    )
    everywhere: int = Field(
        2,
        ge=0,
        description="turns a conversation at which a rule that applies everywhere (length, words) is broken",
    )
    write: Literal["missing", "all"] = Field(
        "missing",
        description="what the writer breaks: rules without a check, or all; templates break the others",
    )
    verdict: float = Field(
        0.5,
        ge=0,
        le=1,
        description="least probability at which the judge's yes counts, where no check can verify",
    )


def build(rows: Sequence[Row], settings: GuardrailsSettings, tools: Tools) -> Made:
    """One chunk: both stages, then the examples."""
    made = Made()
    rules = {row.number: applicable(row, tools.prepared) for row in rows}
    for some in rules.values():
        made.tallies.update(f"{UNCHECKED}{g.text}" for g in some if g.check is None)
    tagged = tag(rows, rules, tools, settings.everywhere, made.dropped)
    made.tallies["turns that follow a rule"] += len(tagged)
    by_writer = [
        t
        for t in tagged
        if tools.writer is not None and (settings.write == "all" or t.guardrail.check is None)
    ]
    asked = set(map(id, by_writer))
    for t in tagged:
        if id(t) not in asked:
            break_by_rules(t, tools, made.dropped)
    if by_writer:
        break_by_writer(by_writer, tools, made.dropped, settings.verdict)
    broken = defaultdict[int, list[Tagged]](list)
    for t in tagged:
        if t.broken:
            broken[t.row.number].append(t)
            made.tallies[f"broken: {t.guardrail.check.kind if t.guardrail.check else 'by the writer'}"] += 1
    for row in rows:
        if broken[row.number]:
            if isinstance(row.example, Conversation):
                before = sum(map(len, row.example.alternatives.values()))
                made.dropped += Counter({"alternatives that the data had": before})
            made.built += _examples(row, rules[row.number], broken[row.number], settings)
        else:
            made.dropped[
                "conversations: no rules"
                if not rules[row.number]
                else "conversations: no turn tagged and broken"
            ] += 1
    return made


def _examples(
    row: Row, rules: Sequence[Guardrail], broken: Sequence[Tagged], settings: GuardrailsSettings
) -> list[Built]:
    """The conversation with its alternatives, or its pairs."""
    told = in_prompt(row.dialogue, rules, policy=settings.policy is not None)
    dialogue = in_force(row.dialogue, told, [t.guardrail for t in broken], settings.show)
    if settings.form == "pairs":
        return [
            Built(
                Preference(
                    dialogue[: t.place],
                    dialogue.messages[t.place],
                    Message("assistant", t.broken),
                    row.conversation,
                    violates=t.guardrail.id,
                ),
                (row,),
                t.replies,
                {"rule": t.guardrail.text},
            )
            for t in broken
        ]
    places = defaultdict[int, list[Alternative]](list)
    for t in sorted(broken, key=lambda t: t.place):
        if all(a.message.content != t.broken for a in places[t.place]):
            places[t.place].append(
                Alternative(Message("assistant", t.broken), rank=2, violates=t.guardrail.id)
            )
    example = Conversation(dialogue, row.conversation, {i: tuple(a) for i, a in places.items()})
    keys = tuple(dict.fromkeys(k for t in broken for k in t.replies))
    return [Built(example, (row,), keys, {"rules": {t.guardrail.id: t.guardrail.text for t in broken}})]


def in_prompt(dialogue: Dialogue, rules: Sequence[Guardrail], *, policy: bool) -> tuple[str, ...]:
    """The texts that may stand in the prompt: those of a policy, else all that the conversation carries itself, also those that
    no pattern takes for an order."""
    return tuple(g.text for g in rules) if policy else dialogue.guardrails


def in_force(dialogue: Dialogue, told: Sequence[str], followed: Sequence[Guardrail], show: str) -> Dialogue:
    """The dialogue with those texts of ``told`` in its prompt that ``GuardrailsSettings.show`` says."""
    texts = {g.text for g in followed}
    shown = [text for text in told if show == "all" or text in texts]
    return replace(dialogue, guardrails=tuple(dict.fromkeys(shown)))


def prepare(settings: GuardrailsSettings) -> Policy | None:
    """The policy, if one is named."""
    return None if settings.policy is None else read_policy(settings.policy)


def notes(settings: GuardrailsSettings, policy: Policy | None, tallies: Mapping[str, Any]) -> list[str]:
    """Which rules had no check."""
    found = sorted(
        ((n, k.removeprefix(UNCHECKED)) for k, n in tallies.items() if k.startswith(UNCHECKED)), reverse=True
    )
    said = []
    if policy is not None:
        checked = sum(g.check is not None for g in policy.guardrails)
        said.append(
            f"The policy has {len(policy.guardrails)} rules, {checked} with a check; {policy.skipped} sentences are no rules."
        )
    if found:
        said.append(
            f"{len(found)} rules had no check: they are broken only where a model writes (--model, or --endpoint and --llm), or "
            "if a YAML policy gives them a check. The commonest, with the conversations that have them:"
        )
        said += [f"  {n:,}  {text}" for n, text in found[:SHOWN]]
    return said


BUILDER = Builder(
    "guardrails",
    "conversations and a policy -> replies that break its rules, at every turn that follows one",
    GuardrailsSettings,
    build,
    uses=("writer", "judge"),
    prepare=prepare,
    notes=notes,
)
