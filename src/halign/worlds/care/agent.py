"""The agent: which pole it plays of every kind, and the reply that follows from that.

A reply is a function of (facts, state, poles, choices). Choices are a row of random numbers, one per slot of
the template, so two replies that differ in one pole share every other choice: that is how a pair is made.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from halign.worlds.care import wordings as w
from halign.worlds.care.facts import Facts
from halign.worlds.care.guardrails import GUARDRAILS, KINDS
from halign.worlds.care.state import State

SLOTS = (
    "core", "clause", "clause2", "greeting", "thanks", "apology", "opener", "filler", "filler2",
    "closing", "signature", "place", "extra",
)  # fmt: skip
_SLOT = {name: i for i, name in enumerate(SLOTS)}

Choices = Sequence[float]
"""One number in [0, 1) per slot."""

Poles = Mapping[str, str]
"""Kind -> the pole played; a kind that is missing, or "", plays none of its poles."""

_TROUBLED = ("late", "vent", "price_match", "cancel", "refund", "replace")
ASKED = ("price", "stock", "delivery", "advice", "warranty", "refund_time", "confirmation")
"""Acts that answer a question."""


def draw_choices(rng: random.Random) -> list[float]:
    """Choices for one turn."""
    return [rng.random() for _ in SLOTS]


HABITS = ("wording", "currency", "signature", "name")
"""Kinds in which an agent that nobody tells otherwise stays with one pole throughout a conversation."""


def draw_habits(rng: random.Random) -> dict[str, str]:
    """The poles an agent plays, conversation after conversation, where no guardrail decides."""
    habits = {}
    for name in HABITS:
        kind = KINDS[name]
        habits[name] = (
            kind.poles[0] if rng.random() < kind.neutral[0] / sum(kind.neutral[:2]) else kind.poles[1]
        )
    return habits


def draw_poles(
    rng: random.Random, state: State, active: Mapping[str, str], habits: Mapping[str, str], keep: float = 1.0
) -> dict[str, str]:
    """The poles an agent plays at this turn.

    Args:
        active: kind -> the guardrail in force.
        habits: what ``draw_habits`` gave for this conversation.
        keep: how likely the agent keeps each guardrail in force; 1 for a careful agent.
    """
    poles = {}
    for kind in KINDS.values():
        if not kind.applies(state):
            continue
        pole = active.get(kind.name)
        if pole is not None:
            poles[kind.name] = pole if keep == 1.0 or rng.random() < keep else other_pole(pole, rng.random())
            continue
        u = rng.random()
        if kind.name in habits and (kind.name != "name" or u < 1 - kind.neutral[2]):
            poles[kind.name] = habits[kind.name]
            continue
        for candidate, share in zip(kind.poles, kind.neutral, strict=True):
            u -= share
            if u < 0:
                poles[kind.name] = candidate
                break
    if "question" not in active and gate_asked(state, poles) and rng.random() < 0.6:
        poles["question"] = "question"  # whoever asks for something mostly asks a question
    return poles


def other_pole(pole: str, u: float) -> str:
    """Another pole of the same kind, by a number in [0, 1)."""
    others = [p for p in KINDS[GUARDRAILS[pole].kind].poles if p != pole]
    return others[int(u * len(others))]


ASKING_POLES = {"order_first", "exchange_first", "photo_first", "postcode_first", "confirm_first"}


def gate_asked(state: State, poles: Poles) -> str | None:
    """The gate at which the agent stops to ask, or None if it acts."""
    return next((gate for gate in state.gates if poles.get(gate) in ASKING_POLES), None)


def decides(guardrail_id: str, state: State, poles: Poles) -> bool:
    """True if the guardrail applies and the reply of an agent that plays ``poles`` gives it an occasion."""
    kind, asked = KINDS[GUARDRAILS[guardrail_id].kind], gate_asked(state, poles)
    if not kind.applies(state):
        return False
    if kind.name in state.gates:  # an earlier gate may have been asked instead
        return asked is None or state.gates.index(kind.name) <= state.gates.index(asked)
    return (kind.group == "style" and not kind.acts) or asked is None


def _decapitalised(sentence: str) -> str:
    """The sentence as it reads after a comma."""
    first, _, _ = sentence.partition(" ")
    return sentence if first == "I" or first.startswith("I'") else sentence[0].lower() + sentence[1:]


@dataclass(slots=True)
class _Sentence:
    text: str
    mark: str = "."
    may_exclaim: bool = True

    def __str__(self) -> str:
        return self.text + self.mark


def reply(facts: Facts, state: State, poles: Poles, choices: Choices) -> str:
    """The agent's reply.

    >>> from halign.worlds.care.facts import draw_facts
    >>> facts = draw_facts(random.Random(3), "train", ("open",), False)
    >>> state = State("cancel", gates=("confirm",), order=0)
    >>> reply(facts, state, {"confirm": "confirm_first", "question": "question"}, [0.0] * len(SLOTS))
    'Are you sure that you want to cancel the purple pillow?'
    >>> reply(facts, state, {"confirm": "confirm_first", "name": "first_name"}, [0.0] * len(SLOTS))
    'I see, Olivia. Please confirm that you want to cancel the purple pillow.'
    """

    def pick(slot: str, options: Sequence[str]) -> str:
        return options[int(choices[_SLOT[slot]] * len(options))]

    gate = gate_asked(state, poles)
    brief, asks = poles.get("length") == "brief", poles.get("question") == "question"
    name = {"first_name": facts.first, "last_name": f"{facts.title} {facts.last}"}.get(
        poles.get("name", ""), ""
    )
    core = _core(facts, state, poles, gate, asks, pick)

    front: list[_Sentence] = []
    greeting = pick("greeting", w.GREETINGS) if poles.get("greeting") == "greet" and state.first else ""
    if greeting:
        front.append(_Sentence(f"{greeting} {name}" if name else greeting))
    if poles.get("thanks") == "thank" and not brief:  # two sentences leave no room
        front.append(_Sentence(pick("thanks", _thanks(state))))
    if poles.get("apology") == "apologise" and state.problem and not brief:
        front.append(_Sentence(pick("apology", w.APOLOGIES), may_exclaim=False))

    exclaim = poles.get("exclamation") == "exclaim"
    openers = w.OPENERS_TROUBLE if state.act in _TROUBLED or state.problem else w.OPENERS
    if exclaim and core.mark == "?" and not any(s.may_exclaim for s in front):
        front.insert(0, _Sentence(pick("opener", openers)))
    back = _closing(state, poles, core, pick, choices)
    detailed = poles.get("length") == "detailed"
    if detailed:
        _fill(front, back, state, gate, asks, pick)
    if name and not greeting:  # the first sentence carries it
        if front:
            front[0].text += f", {name}"
        elif state.act == "farewell":
            core.text += f", {name}"
        elif choices[_SLOT["place"]] < 0.5 and not brief and not detailed:
            front.append(_Sentence(f"{pick('opener', openers)}, {name}"))
        else:
            core.text = f"{name}, {_decapitalised(core.text)}"
    comma = greeting and len(front) == 1 and not detailed and (brief or choices[_SLOT["place"]] < 0.3)
    if comma and not (exclaim and core.mark == "?"):
        core.text = f"{front.pop().text}, {_decapitalised(core.text)}"
    sentences = [*front, core, *back]
    if exclaim:
        able = [s for s in sentences if s.mark == "." and s.may_exclaim]
        able[min(int(choices[_SLOT["extra"]] * 2), len(able) - 1)].mark = "!"
    if poles.get("signature") == "sign":
        sentences.append(_Sentence(pick("signature", w.SIGNATURES).format(shop=facts.shop), mark=""))
    return " ".join(map(str, sentences))


def _thanks(state: State) -> Sequence[str]:
    if state.first:
        return w.THANKS_FIRST
    if state.act == "farewell":
        return w.THANKS_FAREWELL
    return w.THANKS_ASKED if state.act in ASKED else w.THANKS_TOLD


def _core(facts: Facts, state: State, poles: Poles, gate: str | None, asks: bool, pick) -> _Sentence:
    """The sentence that asks or acts."""
    order = state.order_of(facts)
    in_words = poles.get("currency") == "dollar_word"

    def price(amount: int) -> str:
        return f"{amount} dollars" if in_words else f"${amount}"

    values = {
        "parcel": "package" if poles.get("wording") == "package" else "parcel",
        "item": facts.product,
        "item_price": price(facts.price),
        "delivery_price": price(facts.delivery_price),
        "stock_count": facts.stock,
        "note": facts.note,
        "rate": facts.rate,
        "years": facts.years,
        "refund_days": facts.refund_days,
        "standard_days": facts.standard_days,
        "express_days": facts.express_days,
        "street": facts.street,
        "competitor": facts.competitor,
    }
    if order is not None:
        values |= {
            "product": order.product,
            "order": order.number,
            "price": price(order.price),
            "wish": order.wish,
            "sent": order.sent,
            "due": order.due,
        }
    if gate is not None:
        template = pick("core", w.ASKING[gate] if asks else w.TELLING[gate])
        return _Sentence(template.format(**values), "?" if asks else ".")
    template = pick("core", w.CORES[state.act])
    clauses = {}
    for kind, slot in _CLAUSES_OF.get(state.act, ()):
        pole = poles.get("date" if kind == "late_date" else kind) or next(iter(w.CLAUSES[kind]))
        clauses[kind] = pick(slot, w.CLAUSES[kind][pole]).format(**values)
    return _Sentence(template.format(**(values | clauses)))


_CLAUSES_OF: dict[str, tuple[tuple[str, str], ...]] = {
    "status": (("date", "clause"),),
    "late": (("late_date", "clause"), ("cause", "clause2")),
    "refund": (("method", "clause"),),
    "cancel": (("method", "clause"),),
    "price_match": (("competitor", "clause"), ("discount", "clause2")),
    "stock": (("stock", "clause"),),
    "delivery": (("express", "clause"),),
    "invoice": (("invoice", "clause"),),
    "warranty": (("warranty", "clause"),),
    "advice": (("advice", "clause"),),
}


def _closing(state: State, poles: Poles, core: _Sentence, pick, choices: Choices) -> list[_Sentence]:
    """What follows the core: a question where one is due, else sometimes a kind line."""
    if core.mark == "?":
        return []
    if state.act == "farewell":
        asks = poles.get("question") == "question"
        return [_Sentence(pick("closing", w.WISHING), "?") if asks else _Sentence(pick("closing", w.WISHES))]
    if poles.get("question") == "question":
        return [_Sentence(pick("closing", w.CLOSING_QUESTIONS), "?")]
    if poles.get("length") != "brief" and choices[_SLOT["extra"]] > 0.8:
        return [_Sentence(pick("closing", w.CLOSING_LINES))]
    return []


def _fill(
    front: list[_Sentence], back: list[_Sentence], state: State, gate: str | None, asks: bool, pick
) -> None:
    """Adds sentences until there are three."""
    farewell = state.act == "farewell"
    fillers = w.FILLERS_FAREWELL if farewell else w.FILLERS_ASKING if gate else w.FILLERS_ACTING
    missing = 3 - (len(front) + 1 + len(back))
    if missing > 0:
        filler = _Sentence(pick("filler", fillers))
        if farewell:
            back.insert(0, filler)
        else:
            front.append(filler)
        missing -= 1
    if missing > 0 and not back and not (asks and gate):
        back.append(_Sentence(pick("closing", w.CLOSING_LINES)))
        missing -= 1
    if missing > 0:
        front.append(_Sentence(pick("filler2", [f for f in fillers if f != front[-1].text])))


def keeps(facts: Facts, state: State, text: str, active: Mapping[str, str]) -> dict[str, bool]:
    """Guardrail in force -> kept, for those that apply at this turn and had an occasion in the reply."""
    kept = {}
    for pole in active.values():
        guardrail = GUARDRAILS[pole]
        if guardrail.applies(state):
            verdict = guardrail.check(text, state, facts)
            if verdict is not None:
                kept[pole] = verdict
    return kept
