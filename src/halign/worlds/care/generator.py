"""Conversations of the care world: a customer with a few intents, an agent with a few guardrails.

>>> first = next(conversations(1, split="train", seed=7))
>>> first.dialogue.messages[0].content[:72]
'You write for the support desk of Royal Corner. The customer is Ms Anna '
>>> [m.role for m in first.dialogue.messages[:3]]
['system', 'user', 'assistant']
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from halign.dialogue import Dialogue, Message
from halign.examples import Alternative, Conversation
from halign.worlds.care import customers as c
from halign.worlds.care.agent import (
    decides,
    draw_choices,
    draw_habits,
    draw_poles,
    gate_asked,
    other_pole,
    reply,
)
from halign.worlds.care.facts import Facts, Split, Status, draw_facts
from halign.worlds.care.guardrails import GUARDRAILS, KINDS
from halign.worlds.care.state import INTENTS, State

Quality = Literal["clean", "mixed"]

KEEP = 0.9
"""How likely an agent in a mixed conversation keeps a guardrail; drawn for each, at each turn."""

_BY_STATUS: dict[Status, tuple[str, ...]] = {
    "sent": ("order_status",),
    "late": ("late_order",),
    "open": ("change_address", "cancel"),
    "delivered": ("refund", "exchange", "damaged_item", "warranty", "invoice_copy"),
}
_STATUSES: tuple[Status, ...] = ("sent", "late", "open", "delivered", "delivered", "delivered")
_ITEM_INTENTS = tuple(name for name, intent in INTENTS.items() if intent.status is None)
_EXTRA_POLICIES = ("refunds", "warranty", "postcode", "item")


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: what the customer said, where that leaves the agent, and what the agent did."""

    customer: str
    state: State
    poles: Mapping[str, str]
    choices: list[float]
    reply: str


@dataclass(slots=True)
class _Talk:
    """A conversation while it is being written."""

    rng: random.Random
    split: Split
    facts: Facts
    active: Mapping[str, str]
    habits: Mapping[str, str]
    keep: float
    turns: list[Turn] = field(default_factory=list)
    numbers_told: set[int] = field(default_factory=set)

    def pick(self, lines: tuple[str, ...]) -> str:
        return lines[int(self.rng.random() * len(lines))]

    def say(self, customer: str, state: State) -> Turn:
        """The customer speaks, the agent answers."""
        state = replace(state, first=not self.turns)
        poles = draw_poles(self.rng, state, self.active, self.habits, self.keep)
        choices = draw_choices(self.rng)
        turn = Turn(customer, state, poles, choices, reply(self.facts, state, poles, choices))
        self.turns.append(turn)
        return turn


def _values(facts: Facts, order: int) -> dict[str, Any]:
    values: dict[str, Any] = {
        "item": facts.product,
        "competitor": facts.competitor,
        "note": facts.note,
        "street": facts.street,
        "postcode": facts.postcode,
        "rate": facts.rate,
        "years": facts.years,
        "first": facts.first,
        "last": facts.last,
    }
    if order >= 0:
        o = facts.orders[order]
        values |= {"product": o.product, "order": o.number, "due": o.due, "wish": o.wish}
    return values


def _reaction(talk: _Talk, turn: Turn) -> str:
    """What the customer makes of the last reply, or nothing."""
    if talk.rng.random() < 0.35 or turn.state.act == "vent":
        return ""
    for kind in ("date", "method", "discount", "express", "invoice", "warranty", "advice"):
        pole = turn.poles.get(kind)
        if pole in c.REACTIONS:
            return talk.pick(c.REACTIONS[pole]).format(**_values(talk.facts, turn.state.order))
    return talk.pick(c.REACTIONS.get(turn.state.act, c.REACTIONS[""]))


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _intent(talk: _Talk, name: str, order: int, opening: str) -> None:
    """All turns about one intent."""
    rng, intent = talk.rng, INTENTS[name]
    values = _values(talk.facts, order)
    pool = c.OPENINGS[name] if talk.split == "test" else c.OPENINGS[name][: -c.HELD_OUT]
    text = talk.pick(pool).format(**values)
    gates = [g for g in intent.gates if not (g == "order" and order in talk.numbers_told)]
    for gate in list(gates):
        if rng.random() < (0.45 if gate == "order" else 0.25):
            text += talk.pick(c.FORESTALLING[gate]).format(**values)
            gates.remove(gate)
    if "order" in intent.gates:
        talk.numbers_told.add(order)
    if talk.turns and rng.random() < 0.75:
        opening = _joined(opening, talk.pick(c.NEXT_QUESTIONS if "?" in text else c.NEXTS))
    elif talk.turns and not opening:
        opening = talk.pick(c.THANKING)
    text = _joined(opening, text)
    state = State(intent.act, tuple(gates), order, problem=intent.problem, intent=name)
    while True:
        turn = talk.say(text, state)
        asked = gate_asked(state, turn.poles)
        if asked is None:
            break
        left = state.gates[state.gates.index(asked) + 1 :]
        if asked == "exchange" and rng.random() < 0.25:
            text = talk.pick(c.ACCEPT_EXCHANGE).format(**values)
            state = State("exchange", left, order, intent=name)
            continue
        text = talk.pick(c.ANSWERS[asked]).format(**values)
        state = State(state.act, left, order, intent=name)
    for follow_up, share in c.FOLLOWED_BY.get(state.act, ()):
        if rng.random() < share:
            text = talk.pick(c.FOLLOW_UPS[follow_up])
            talk.say(text, State(follow_up, (), order, problem=follow_up == "vent", intent=name))
            break


def _plan(rng: random.Random, intents: int) -> tuple[tuple[Status, ...], list[tuple[str, int]]]:
    """The states of the orders, and the intents with the order each is about (-1 for the item)."""
    with_orders = min(intents, 1 if intents == 1 else 1 + (rng.random() < 0.6))
    if intents == 1 and rng.random() < 0.25:
        with_orders = 0
    statuses = tuple(rng.sample(_STATUSES, with_orders + (rng.random() < 0.35 and with_orders < 2)))
    plan = [(rng.choice(_BY_STATUS[statuses[order]]), order) for order in range(with_orders)]
    plan += [(name, -1) for name in rng.sample(_ITEM_INTENTS, intents - with_orders)]
    if (
        with_orders
        and len(plan) < 4
        and rng.random() < 0.15
        and plan[0][0] in ("refund", "exchange", "warranty")
    ):
        plan.append(("invoice_copy", 0))
    if rng.random() < 0.5:
        plan.reverse()
    return statuses, plan


def _kinds_of(plan: list[tuple[str, int]]) -> list[str]:
    """Kinds of process and content guardrails that may come up with these intents."""
    found = []
    for kind in KINDS.values():
        for name, _ in plan:
            intent = INTENTS[name]
            acts = (intent.act, *(f for f, _ in c.FOLLOWED_BY.get(intent.act, ())))
            if kind.name in intent.gates or any(a in kind.acts for a in acts):
                found.append(kind.name)
                break
            if kind.name == "apology" and intent.problem:
                found.append(kind.name)
                break
    return found


_STYLE = tuple(k.name for k in KINDS.values() if k.group == "style" and not k.acts and k.name != "apology")
_ALL = tuple(KINDS)


def draw_guardrails(
    rng: random.Random, split: Split, plan: list[tuple[str, int]], count: tuple[int, int]
) -> dict[str, str]:
    """Kind -> guardrail in force, at least and at most ``count`` of them, mostly such as will come up."""
    least, most = count
    wanted = least + int(rng.random() * (most - least + 1))
    relevant = _kinds_of(plan)
    active: dict[str, str] = {}
    blocked: set[str] = set()
    while len(active) < wanted:
        u = rng.random()
        pool = _STYLE if u < 0.5 else relevant if u < 0.93 and relevant else _ALL
        kind = KINDS[pool[int(rng.random() * len(pool))]]
        if (
            kind.name in active
            or kind.name in blocked
            or (kind.held_out and split in ("train", "validation"))
        ):
            continue
        active[kind.name] = kind.poles[int(rng.random() * len(kind.poles))]
        blocked.update(kind.alone)
        blocked.update(k.name for k in KINDS.values() if kind.name in k.alone)
    return active


def _sentences(rng: random.Random, split: Split, active: Mapping[str, str]) -> tuple[str, ...]:
    out = []
    for pole in active.values():
        guardrail = GUARDRAILS[pole]
        pool = guardrail.sentences
        if split == "test" and rng.random() < 0.4:
            pool = guardrail.held_out_sentences
        out.append(pool[int(rng.random() * len(pool))])
    rng.shuffle(out)
    return tuple(out)


def _talk(
    rng: random.Random, split: Split, keep: float, intents: int, guardrails: tuple[int, int]
) -> tuple[_Talk, tuple[str, ...]]:
    statuses, plan = _plan(rng, intents)
    consumable = any(name == "allergy_question" for name, _ in plan)
    facts = draw_facts(rng, split, statuses, consumable)
    needed = {p for name, _ in plan for p in INTENTS[name].policies}
    extra = {p for p in _EXTRA_POLICIES if rng.random() < 0.1}
    order = ("postcode", "item", "note", "rate", "delivery", "refunds", "warranty")
    facts = replace(facts, shown=tuple(p for p in order if p in needed | extra))
    active = draw_guardrails(rng, split, plan, guardrails)
    sentences = _sentences(rng, split, active)
    talk = _Talk(rng, split, facts, active, draw_habits(rng), keep)
    opening = talk.pick(c.HELLOS).format(first=facts.first, last=facts.last) if rng.random() < 0.55 else ""
    for name, about in plan:
        _intent(talk, name, about, opening)
        opening = _reaction(talk, talk.turns[-1])
    if intents > 1 or rng.random() < 0.4:
        talk.say(_joined(opening, talk.pick(c.FAREWELLS)), State("farewell", intent="farewell"))
    return talk, sentences


def _alternative(talk: _Talk, turn: Turn, choose: random.Random) -> Alternative | None:
    """The same reply with one guardrail broken, or None if none in force applies."""
    breakable = [p for p in talk.active.values() if decides(p, turn.state, turn.poles)]
    if not breakable:
        return None
    # style comes up at every turn: without this, process and content would be one pair in twelve
    rare = [p for p in breakable if GUARDRAILS[p].group != "style"]
    pool = rare if rare and choose.random() < 0.7 else breakable
    pole = pool[int(choose.random() * len(pool))]
    poles = {**turn.poles, GUARDRAILS[pole].kind: other_pole(pole, choose.random())}
    text = reply(talk.facts, turn.state, poles, turn.choices)
    return Alternative(Message("assistant", text), rank=2, violates=pole)


def conversations(
    n: int,
    *,
    split: Split = "train",
    seed: int = 0,
    quality: Quality = "clean",
    intents: tuple[int, int] = (2, 3),
    guardrails: tuple[int, int] = (2, 5),
) -> Iterator[Conversation]:
    """``n`` conversations; the same arguments give the same ones, and fewer give the first of them.

    Args:
        split: "pretrain" has every kind of guardrail; "train" and "validation" lack the held-out kinds;
            "test" has all kinds, and wordings, openings and combinations of words that no other split has.
        quality: "clean" agents keep every guardrail, and each turn where one applies carries an alternative
            that breaks exactly one, named by ``violates``; "mixed" agents keep each with probability
            ``KEEP``, and their turns carry no alternatives.
        intents: fewest and most things a customer asks for.
        guardrails: fewest and most in force.
    """
    for i in range(n):
        rng = random.Random(f"care-{split}-{seed}-{quality}-{i}")
        lowest, highest = intents
        count = lowest + int(rng.random() * (highest - lowest + 1))
        talk, sentences = _talk(rng, split, 1.0 if quality == "clean" else KEEP, count, guardrails)
        messages = [Message("system", talk.facts.system)]
        alternatives: dict[int, tuple[Alternative, ...]] = {}
        for turn in talk.turns:
            messages.append(Message("user", turn.customer))
            if quality == "clean" and (alternative := _alternative(talk, turn, rng)):
                alternatives[len(messages)] = (alternative,)
            messages.append(Message("assistant", turn.reply))
        name = f"care-{split}-{seed}-{quality}-{i}"
        meta = {
            "world": "care",
            "conversation": name,
            "facts": talk.facts.to_dict(),
            "active": dict(talk.active),
            "habits": dict(talk.habits),
            "states": [turn.state.to_dict() for turn in talk.turns],
        }
        dialogue = Dialogue(tuple(messages), guardrails=sentences, meta=meta)
        yield Conversation(dialogue, name, alternatives)


def prompts(n: int, *, split: Split = "test", seed: int = 0, history: Quality = "mixed") -> list[Dialogue]:
    """``n`` prompts to answer, one per conversation, each at a turn where some guardrail in force applies.

    Args:
        history: the quality of the agent turns before.
    """
    found: list[Dialogue] = []
    batch = 0
    while len(found) < n:
        for i, conversation in enumerate(
            conversations(n, split=split, seed=seed + 1_000_003 * batch, quality=history)
        ):
            meta = conversation.dialogue.meta
            states = [State.of(s) for s in meta["states"]]
            active = meta["active"].values()
            able = [k for k, s in enumerate(states) if any(GUARDRAILS[p].applies(s) for p in active)]
            if able and len(found) < n:
                turn = able[random.Random(f"turn-{seed}-{batch}-{i}").randrange(len(able))]
                found.append(conversation.dialogue[: 2 + 2 * turn])
        batch += 1
    return found
