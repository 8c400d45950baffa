"""What there is to render in an example: the prompt and the responses of each item it becomes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import HalignError
from halign.examples import Conversation, Demonstration, Duel, Example, Preference, Ranking, Rating
from halign.items import Kind


@dataclass(frozen=True, slots=True)
class Part:
    """One item to be: its prompt, its responses in the item's order, and the item's ``values``."""

    prompt: Dialogue
    responses: tuple[Message, ...]
    values: dict[str, Any] = field(default_factory=dict)


def parts(example: Example, kind: Kind, roles: tuple[str, ...]) -> Iterator[Part]:
    """The parts of an example; demonstrations and conversations have one per turn of these roles.

    Raises:
        HalignError: if the example's type does not fit the kind.
    """
    match kind, example:
        case "tokens", Demonstration() | Conversation():
            yield from _turns(example, roles)
        case "tokens", Preference(prompt, chosen):
            yield Part(prompt, (chosen,))
        case "pairs", Duel(prompt, chosen, rejected):
            lengths = (float(len(chosen.content)), float(len(rejected.content)))
            yield Part(prompt, example.orders, {"preference": example.preference, "lengths": lengths})
        case "lists", Preference(prompt, chosen, rejected):
            yield Part(prompt, (chosen, rejected), {"preference": example.preference, "ranks": (1.0, 2.0)})
        case "pairs", Preference(prompt, chosen, rejected):
            yield Part(prompt, (chosen, rejected), _preference_values(example))
        case "lists", Ranking(prompt, responses):
            yield Part(prompt, responses, _ranking_values(example))
        case "singles", Rating(prompt, response):
            score = {} if example.score is None else {"rewards": (example.score,)}
            rated = {} if example.attributes is None else {"attributes": example.attributes}
            yield Part(prompt, (response,), {"desirable": example.desirable, **score, **rated})
        case _:
            raise HalignError(f"a {type(example).__name__} cannot become {kind}; convert the data first")


def texts(example: Example) -> Iterator[str]:
    """Every message's content, of an example's prompt and responses."""
    messages: tuple[Message, ...]
    match example:
        case Demonstration() | Conversation():
            messages = example.dialogue.messages
        case Preference(prompt, chosen, rejected):
            messages = (*prompt.messages, chosen, rejected)
        case Ranking(prompt, responses):
            messages = (*prompt.messages, *responses)
        case Rating(prompt, response):
            messages = (*prompt.messages, response)
    return (m.content for m in messages if isinstance(m.content, str))


def _turns(example: Demonstration | Conversation, roles: tuple[str, ...]) -> Iterator[Part]:
    turns = example.turns if isinstance(example, Demonstration) else None
    for i, message in enumerate(example.dialogue.messages):
        if i in turns if turns is not None else message.role in (*roles, RAW):
            yield Part(example.dialogue[:i], (message,))


def _preference_values(example: Preference) -> dict[str, Any]:
    rates = {"chosen_win_rate": example.chosen_win_rate, "rejected_win_rate": example.rejected_win_rate}
    return {"preference": example.preference, **{k: v for k, v in rates.items() if v is not None}}


RESPONSE_LOGPS = ("prior", "behaviour", "attribute")
"""Log-probabilities that responses may bring along, as ``NAME_logp`` beside their content (SteerLM 2)."""


def _ranking_values(example: Ranking) -> dict[str, Any]:
    values: dict[str, Any] = {"ranks": tuple(map(float, example.ranks))}
    if example.scores is not None:
        values["rewards"] = tuple(example.scores)
    for name in RESPONSE_LOGPS:
        found = [m.extra.get(f"{name}_logp") for m in example.responses]
        if any(f is not None for f in found):
            values[f"{name}_logps"] = tuple(_logp(f, f"{name}_logp", example) for f in found)
    return values


def _logp(value: Any, name: str, example: Ranking) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise HalignError(
        f"a ranking of conversation {example.conversation!r}: {name} is {value!r} for one of its responses; give every "
        "response a finite number of nats, or none of them"
    )
