"""Where a conversation stands when the agent is to answer, and the intents it may be about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from halign.worlds.care.facts import Facts, Order, Status


@dataclass(frozen=True, slots=True)
class Intent:
    """What a customer wants.

    Attributes:
        act: what a reply has to do in the end.
        gates: what a careful agent may ask for before that, in order.
        status: the state an order must be in, or None when it is about something for sale.
        policies: what the system message has to say for a reply to be possible.
        problem: True if something went wrong (an apology may be due).
    """

    act: str
    gates: tuple[str, ...] = ()
    status: Status | None = None
    policies: tuple[str, ...] = ()
    problem: bool = False


INTENTS: dict[str, Intent] = {
    "order_status": Intent("status", ("order",), "sent"),
    "late_order": Intent("late", ("order",), "late", problem=True),
    "refund": Intent("refund", ("order", "exchange"), "delivered", ("refunds",)),
    "exchange": Intent("exchange", ("order",), "delivered"),
    "damaged_item": Intent("replace", ("order", "photo"), "delivered", problem=True),
    "warranty": Intent("warranty", ("order",), "delivered", ("warranty",)),
    "change_address": Intent("address", ("order", "postcode"), "open", ("postcode",)),
    "cancel": Intent("cancel", ("order", "confirm"), "open", ("refunds",)),
    "invoice_copy": Intent("invoice", ("order",), "delivered"),
    "discount": Intent("price_match", (), None, ("item", "rate")),
    "stock": Intent("stock", (), None, ("item",)),
    "price": Intent("price", (), None, ("item",)),
    "delivery_options": Intent("delivery", (), None, ("item", "delivery")),
    "allergy_question": Intent("advice", (), None, ("item", "note")),
}

GATES = ("order", "exchange", "photo", "postcode", "confirm")
"""Each gate is a kind of guardrail too: ask first, or do not."""


@dataclass(frozen=True, slots=True)
class State:
    """What the next reply has to deal with.

    Attributes:
        act: what answers the customer, once nothing needs to be asked first.
        gates: what may be asked first; the customer has not told it yet.
        order: index of the order it is about, -1 for the item on sale.
        first: True at the agent's first turn.
        problem: True if the customer has just reported a problem.
        intent: name of the intent, for tables.
    """

    act: str
    gates: tuple[str, ...] = ()
    order: int = -1
    first: bool = False
    problem: bool = False
    intent: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Fit for JSON."""
        return asdict(self) | {"gates": list(self.gates)}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> State:
        """A state from what ``to_dict`` made."""
        return cls(**{**value, "gates": tuple(value["gates"])})

    def order_of(self, facts: Facts) -> Order | None:
        """The order this turn is about."""
        return facts.orders[self.order] if self.order >= 0 else None
