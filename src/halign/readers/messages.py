"""``{"messages": [...]}``: a demonstration, or a conversation whose agent turns carry alternatives.

The conversation form is the one that other libraries lack. A message's own content is the best and continues
the trunk:

    {"id": "c1", "guardrails": ["Never promise a refund."], "messages": [
      {"role": "user", "content": "My mug broke."},
      {"role": "assistant", "content": "I am sorry. May I have the order number?", "alternatives": [
        {"content": "You get your money back.", "rank": 2, "violates": "Never promise a refund."}]}]}

Each alternative has exactly one of ``rank`` (1 ties with the content), ``score`` (higher is better) and
``label``.

OpenAI's fine-tuning files are of this form: ``weight`` 0 on a message of the assistant says that it is not learnt, the older
``function_call`` of a message and ``functions`` of a row are read as ``tool_calls`` and ``tools``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.dialogue import RAW, Message
from halign.errors import DataError
from halign.examples import Alternative, Conversation, Demonstration
from halign.readers import fields

VERDICTS = ("rank", "score", "label")


def parse(row: fields.Row, conversation: str, extras: Mapping[str, Any]) -> Demonstration | Conversation:
    """The example of one row; a Conversation if any message has the key ``alternatives``."""
    turns = fields.messages(row["messages"], "messages", drop=("alternatives", "weight"))
    dialogue = fields.said(turns, extras)
    if any("alternatives" in m for m in row["messages"]):
        if row.get("turns") is not None:
            raise DataError(
                "a conversation with alternatives learns from every agent turn; drop 'turns'", field="turns"
            )
        if (heavy := _weighed(row, turns)) is not None and len(heavy) < sum(map(_agent, turns)):
            raise DataError(
                "a conversation with alternatives learns from every agent turn; drop the messages' 'weight'",
                field="messages",
            )
        found = {i: a for i, m in enumerate(turns) if (a := _alternatives(row["messages"][i], m, i))}
        return Conversation(dialogue, conversation, found, fields.weight(row))
    if not any(map(_agent, turns)):
        raise DataError(
            "no message comes from the assistant: there is nothing to learn from", field="messages"
        )
    return Demonstration(dialogue, conversation, _learnt(row, turns), fields.weight(row))


def _agent(message: Message) -> bool:
    return message.role in ("assistant", RAW)


def _learnt(row: fields.Row, turns: tuple[Message, ...]) -> tuple[int, ...] | None:
    """Indices of the messages to learn from, as ``turns`` or the messages' weights say; None where neither says anything."""
    named, weighed = _turns(row, len(turns)), _weighed(row, turns)
    if weighed is None:
        return named
    if named is not None:
        raise DataError("'turns' and the messages' 'weight' both say what is learnt; keep one", field="turns")
    if not weighed:
        raise DataError(
            "every message of the assistant has weight 0: there is nothing to learn from", field="messages"
        )
    return weighed if len(weighed) < sum(map(_agent, turns)) else None


def _weighed(row: fields.Row, turns: tuple[Message, ...]) -> tuple[int, ...] | None:
    """Indices of the assistant's messages whose weight is not 0; None if no message has one."""
    said = [(i, m["weight"]) for i, m in enumerate(row["messages"]) if m.get("weight") is not None]
    if not said:
        return None
    for i, weight in said:
        if isinstance(weight, bool) or weight not in (0, 1):
            raise DataError(
                f"the weight of a message is 0 or 1, found {weight!r}; a row may have any 'weight'",
                field=f"messages[{i}].weight",
            )
    dropped = {i for i, weight in said if weight == 0}
    return tuple(i for i, m in enumerate(turns) if _agent(m) and i not in dropped)


def _turns(row: fields.Row, count: int) -> tuple[int, ...] | None:
    """The optional ``turns``: indices of the messages to learn from."""
    value = row.get("turns")
    if value is None:
        return None
    if (
        not isinstance(value, list | tuple)
        or not value
        or not all(type(i) is int and 0 <= i < count for i in value)
    ):
        raise DataError(f"expected a list of message indices from 0 to {count - 1}", field="turns")
    return tuple(value)


def _alternatives(raw: Mapping[str, Any], own: Message, turn: int) -> tuple[Alternative, ...]:
    """The alternatives of one message, whose own content must stay the best."""
    values, field = raw.get("alternatives"), f"messages[{turn}].alternatives"
    if not values:
        return ()
    if not isinstance(values, list | tuple):
        raise DataError(f"expected a list of alternatives, found {fields.named(values)}", field=field)
    if own.role not in ("assistant", RAW):
        raise DataError(f"only agent turns carry alternatives, this one is {own.role!r}", field=field)
    best = own.extra.get("score")
    if best is not None:
        best = fields.number(best, f"messages[{turn}].score")
    found = [_alternative(v, own.role, f"{field}[{i}]") for i, v in enumerate(values)]
    kinds = {next(k for k in VERDICTS if getattr(a, k) is not None) for a in found}
    if len(kinds) > 1:
        raise DataError(
            f"the alternatives of one turn mix {' and '.join(sorted(kinds))}; use one of them", field=field
        )
    for i, a in enumerate(found):
        if a.message.words == own.words:
            raise DataError("this alternative is the message's own content", field=f"{field}[{i}].content")
        if a.score is not None and best is not None and a.score > best:
            raise DataError(
                f"score {a.score:g} is above the content's own {best:g}; make the best reply the content",
                field=f"{field}[{i}].score",
            )
    return tuple(found)


def _alternative(value: Any, role: str, field: str) -> Alternative:
    """One alternative; its verdict is exactly one of rank, score, label."""
    what = fields.message(value, field, role=role, drop=(*VERDICTS, "violates"))
    if what.role != role:
        raise DataError(
            f"expected the role of the turn, {role!r}, found {what.role!r}", field=f"{field}.role"
        )
    given = [k for k in VERDICTS if value.get(k) is not None]
    if len(given) != 1:
        said = " and ".join(given) if given else "none of them"
        raise DataError(f"expected exactly one of rank, score and label, found {said}", field=field)
    kind = given[0]
    return Alternative(
        what,
        rank=fields.rank(value[kind], f"{field}.rank") if kind == "rank" else None,
        score=fields.number(value[kind], f"{field}.score") if kind == "score" else None,
        label=fields.label(value[kind], f"{field}.label") if kind == "label" else None,
        violates=fields.string(value.get("violates"), f"{field}.violates"),
    )
