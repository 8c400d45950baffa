"""Customers of the care world who react to what they are told, turn by turn.

The world's own generator writes both sides. Here it is run again from the start for every turn, with the model's replies in the
place of the agent's, and stops where the next reply is missing: there the customer has spoken. So a customer says what
the world's grammar says, needs no memory beside the dialogue, and an interrupted job goes on with the same words. What the model
asked for or offered is found by the world's checks.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from halign.dialogue import Dialogue, Message
from halign.dialogues.scenarios import RUN, Scenario
from halign.errors import HalignError
from halign.worlds.care import GUARDRAILS, KINDS, conversations
from halign.worlds.care import customers as c
from halign.worlds.care.checks import asks
from halign.worlds.care.facts import Facts, Split
from halign.worlds.care.generator import Turn, _intent, _joined, _reaction, _Talk
from halign.worlds.care.state import GATES, State

PLAN = "plan"
"""Where a scenario's ``meta`` has what the customer wants: [intent, order (-1: the item on sale)] in order."""


def care_scenarios(count: int, *, split: Split = "test", seed: int = 0) -> list[Scenario]:
    """Starts of conversations of the world: facts, guardrails in force, what the customer wants."""
    found = []
    for conversation in conversations(count, split=split, seed=seed):
        whole = conversation.dialogue
        told = {k: v for k, v in whole.meta.items() if k != "states"}
        meta = {**told, "states": [], PLAN: _plan(whole.meta["states"]), "split": split}
        start = Dialogue(whole.messages[:1], whole.guardrails, meta=meta)
        found.append(Scenario(conversation.conversation, start))
    return found


def _plan(states: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """What the customer wants, one after the other."""
    plan: list[list[Any]] = []
    for state in states:
        wanted = [state["intent"], state["order"]]
        if wanted[0] != "farewell" and (not plan or plan[-1] != wanted):
            plan.append(wanted)
    return plan


class CareCustomers:
    """The customers of ``care_scenarios``. Each run of a scenario has the same facts and wishes, in other words."""

    name = "care"

    def speak(self, dialogues: Sequence[Dialogue]) -> list[Dialogue | None]:
        """Every dialogue with the customer's next turn, and its state in ``meta["states"]``; None: the customer has gone.

        Raises:
            HalignError: not a scenario of the world.
        """
        return [_next(d) for d in dialogues]


def _next(dialogue: Dialogue) -> Dialogue | None:
    meta = dialogue.meta
    if meta.get("world") != "care" or PLAN not in meta:
        raise HalignError("not a scenario of the care world: its meta lacks facts and plan")
    replies = tuple(m.content for m in dialogue.messages if m.role == "assistant")
    rng = random.Random(f"customer-{meta['conversation']}-{meta.get(RUN, 0)}")
    talk = _Played(
        rng, meta["split"], Facts.of(meta["facts"]), meta["active"], meta["habits"], 1.0, replies=replies
    )
    try:
        _played(talk, meta[PLAN])
    except _ToAnswerError as waiting:
        states = [*(t.state.to_dict() for t in talk.turns), waiting.state.to_dict()]
        said = dialogue + Message("user", waiting.words)
        return replace(said, meta={**meta, "states": states})
    return None


def _played(talk: _Played, plan: Sequence[Sequence[Any]]) -> None:
    """The conversation as the generator has it: greeting, what is wanted, farewell."""
    opening = ""
    if talk.rng.random() < 0.55:
        opening = talk.pick(c.HELLOS).format(first=talk.facts.first, last=talk.facts.last)
    for name, about in plan:
        _intent(talk, name, about, opening)
        opening = _reaction(talk, talk.turns[-1])
    talk.say(_joined(opening, talk.pick(c.FAREWELLS)), State("farewell", intent="farewell"))


class _ToAnswerError(Exception):
    """The customer has spoken, and no reply is there yet."""

    def __init__(self, words: str, state: State) -> None:
        self.words, self.state = words, state


@dataclass(slots=True)
class _Played(_Talk):
    """A conversation whose agent is a model."""

    replies: tuple[str, ...] = ()

    def say(self, customer: str, state: State) -> Turn:
        """The customer speaks, the model has answered, or is asked to."""
        state = replace(state, first=not self.turns)
        if len(self.turns) == len(self.replies):
            raise _ToAnswerError(customer, state)
        reply = self.replies[len(self.turns)]
        turn = Turn(customer, state, poles_of(reply, state, self.facts), [], reply)
        self.turns.append(turn)
        return turn


def poles_of(reply: str, state: State, facts: Facts) -> dict[str, str]:
    """The poles that a reply plays, as far as a customer reacts to them: the gate it asks for, and what it offers or says."""
    gate = next((g for g in state.gates if asks(reply, g)), None)
    poles = {} if gate is None else {gate: KINDS[gate].poles[0]}
    for kind in KINDS.values():
        if kind.name not in GATES and kind.applies(state):
            held = [p for p in kind.poles if GUARDRAILS[p].check(reply, state, facts)]
            poles |= {kind.name: held[0]} if held else {}
    return poles
