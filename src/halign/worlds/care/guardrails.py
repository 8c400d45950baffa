"""The pool of guardrails: what they say, where they apply, and how to tell whether a reply keeps them.

Guardrails come in kinds, and each kind has two or three poles that exclude each other ("address the customer
by first name", "as Ms or Mr", "never by name"). Whatever keeps one pole breaks another, so no reply is right
or wrong by its wording alone: only together with the guardrails in force.

>>> sorted(KINDS["question"].poles)
['no_question', 'question']
>>> GUARDRAILS["question"].opposite
'no_question'
>>> from halign.worlds.care.state import State
>>> rule = GUARDRAILS["order_first"]
>>> rule.applies(State("status", gates=("order",))), rule.applies(State("price"))
(True, False)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from halign.worlds.care.checks import CHECKS
from halign.worlds.care.facts import Facts
from halign.worlds.care.sentences import SENTENCES
from halign.worlds.care.state import GATES, State

Group = Literal["style", "process", "content"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One question of conduct that guardrails decide.

    Attributes:
        poles: the guardrails that answer it, excluding each other.
        neutral: how often an agent plays each pole when none is in force; the rest goes to no pole at all.
        acts: the acts at which it comes up; empty for "at every turn".
        held_out: True if no training or validation conversation has a guardrail of this kind in force.
        alone: kinds that cannot be in force together with this one.
    """

    name: str
    group: Group
    poles: tuple[str, ...]
    neutral: tuple[float, ...]
    acts: tuple[str, ...] = ()
    held_out: bool = False
    alone: tuple[str, ...] = ()

    def applies(self, state: State) -> bool:
        """True if the kind comes up at this turn."""
        if self.name == "greeting":
            return state.first
        if self.name == "apology":
            return state.problem
        if self.name in GATES:
            return self.name in state.gates
        return not self.acts or state.act in self.acts


PRICED = ("refund", "cancel", "price", "delivery")

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("name", "style", ("first_name", "last_name", "no_name"), (0.2, 0.1, 0.7)),
        Kind("greeting", "style", ("greet", "no_greeting"), (0.5, 0.5)),
        Kind("question", "style", ("question", "no_question"), (0.3, 0.7)),
        Kind("exclamation", "style", ("exclaim", "no_exclamation"), (0.15, 0.85)),
        Kind("apology", "style", ("apologise", "no_apology"), (0.5, 0.5)),
        Kind("thanks", "style", ("thank", "no_thanks"), (0.2, 0.8), held_out=True),
        Kind("signature", "style", ("sign", "no_signature"), (0.15, 0.85)),
        Kind("length", "style", ("brief", "detailed"), (0.0, 0.0), alone=("thanks", "apology")),
        Kind("currency", "style", ("dollar_sign", "dollar_word"), (0.5, 0.5), PRICED),
        Kind("wording", "style", ("parcel", "package"), (0.5, 0.5), ("status", "late", "exchange", "vent")),
        Kind("order", "process", ("order_first", "no_order_number"), (0.5, 0.5)),
        Kind("exchange", "process", ("exchange_first", "refund_at_once"), (0.4, 0.6)),
        Kind("photo", "process", ("photo_first", "no_photo"), (0.4, 0.6), held_out=True),
        Kind("postcode", "process", ("postcode_first", "no_postcode"), (0.4, 0.6)),
        Kind("confirm", "process", ("confirm_first", "cancel_at_once"), (0.4, 0.6)),
        Kind("date", "content", ("date", "no_date"), (0.6, 0.4), ("status", "late")),
        Kind("cause", "content", ("cause", "no_blame"), (0.5, 0.5), ("late",)),
        Kind("method", "content", ("to_card", "store_credit"), (0.6, 0.4), ("refund", "cancel")),
        Kind("discount", "content", ("discount", "no_discount"), (0.4, 0.6), ("price_match",)),
        Kind("competitor", "content", ("competitor", "no_competitor"), (0.4, 0.6), ("price_match",)),
        Kind("stock", "content", ("stock_number", "no_stock_number"), (0.4, 0.6), ("stock",), held_out=True),
        Kind("express", "content", ("express", "no_express"), (0.5, 0.5), ("delivery",)),
        Kind("invoice", "content", ("invoice_mail", "invoice_post"), (0.6, 0.4), ("invoice",)),
        Kind("warranty", "content", ("warranty_team", "warranty_answer"), (0.4, 0.6), ("warranty",)),
        Kind("advice", "content", ("doctor", "label"), (0.4, 0.6), ("advice",)),
    )
}


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One rule in words, with the means to check it.

    Attributes:
        sentences: paraphrases that any split may use.
        held_out_sentences: paraphrases that only the test split uses.
        opposite: another pole of the same kind; a reply that keeps it breaks this one.
    """

    id: str
    kind: str
    sentences: tuple[str, ...]
    held_out_sentences: tuple[str, ...]
    opposite: str
    _check: Callable[[str, State, Facts], bool | None]

    @property
    def group(self) -> Group:
        """Style, process or content."""
        return KINDS[self.kind].group

    @property
    def held_out(self) -> bool:
        """True if only test conversations have it in force."""
        return KINDS[self.kind].held_out

    def applies(self, state: State) -> bool:
        """True if the guardrail has something to say about this turn."""
        return KINDS[self.kind].applies(state)

    def check(self, reply: str, state: State, facts: Facts) -> bool | None:
        """True if the reply keeps it, False if not, None if it gave no occasion (asked something first)."""
        return self._check(reply, state, facts)


def _registry() -> dict[str, Guardrail]:
    found = {}
    for kind in KINDS.values():
        for i, pole in enumerate(kind.poles):
            seen, held_out = SENTENCES[pole]
            opposite = kind.poles[(i + 1) % len(kind.poles)]
            found[pole] = Guardrail(pole, kind.name, seen, held_out, opposite, CHECKS[pole])
    return found


GUARDRAILS: dict[str, Guardrail] = _registry()
"""Every guardrail by id."""

BY_SENTENCE: dict[str, str] = {
    s: g.id for g in GUARDRAILS.values() for s in (*g.sentences, *g.held_out_sentences)
}
"""Guardrail id by its wording."""

assert len(BY_SENTENCE) == sum(len(g.sentences) + len(g.held_out_sentences) for g in GUARDRAILS.values())
assert not any(re.search(r"[{}]", s) for s in BY_SENTENCE)
