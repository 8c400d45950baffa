"""``{"prompt", "chosen", "rejected"}``: of two replies to one prompt, one is preferred.

Without ``prompt``, ``chosen`` and ``rejected`` are whole conversations (or whole texts) and the prompt is
what they share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from halign.dialogue import RAW, Message
from halign.errors import DataError
from halign.examples import Preference
from halign.readers import fields

AGENT = "\n\nAssistant:"
"""How transcripts of HH-RLHF open a reply. Replies that begin alike must not lose that to the prompt."""


def parse(row: fields.Row, conversation: str, extras: Mapping[str, Any]) -> Preference:
    """The example of one row."""
    chosen_value, rejected_value = fields.required(row, "chosen"), fields.required(row, "rejected")
    if row.get("prompt") is None:
        prompt, chosen_value, rejected_value = split_prompt(chosen_value, rejected_value)
    else:
        prompt = fields.prompt_messages(row)
    chosen = fields.reply(chosen_value, "chosen", prompt)
    rejected = fields.reply(rejected_value, "rejected", prompt)
    if (chosen.content, chosen.extra.get("tool_calls")) == (
        rejected.content,
        rejected.extra.get("tool_calls"),
    ):
        raise DataError("chosen and rejected are the same; remove the row", field="rejected")
    preference = fields.optional_number(row, "preference", 0.0, 1.0)
    return Preference(
        fields.said(prompt, extras),
        chosen,
        rejected,
        conversation,
        preference=1.0 if preference is None else preference,
        chosen_win_rate=fields.optional_number(row, "chosen_win_rate", 0.0, 1.0),
        rejected_win_rate=fields.optional_number(row, "rejected_win_rate", 0.0, 1.0),
        weight=fields.weight(row),
        violates=fields.string(row.get("violates"), "violates"),
    )


def split_prompt(chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], Any, Any]:
    """(prompt, chosen, rejected) of two whole conversations or two whole texts.

    Raises:
        DataError: if they share no beginning, or if more than one message follows where they part.
    """
    if isinstance(chosen, str) and isinstance(rejected, str):
        at = _common_text(chosen, rejected)
        return (Message(RAW, chosen[:at]),), chosen[at:], rejected[at:]
    if isinstance(chosen, str) or isinstance(rejected, str):
        raise DataError(
            "one is a text and the other is not; without 'prompt' both are whole conversations",
            field="chosen",
        )
    ours, theirs = fields.messages(chosen, "chosen"), fields.messages(rejected, "rejected")
    shared = 0
    while shared < min(len(ours), len(theirs)) and ours[shared] == theirs[shared]:
        shared += 1
    if shared == len(ours) == len(theirs):
        raise DataError("chosen and rejected are the same; remove the row", field="rejected")
    if shared == 0:
        raise DataError(
            "no 'prompt', and chosen and rejected share no first message to make one of", field="prompt"
        )
    for name, turns in (("chosen", ours), ("rejected", theirs)):
        if len(turns) != shared + 1:
            raise DataError(
                f"expected one reply after the {shared} shared messages, found {len(turns) - shared};"
                " cut both after the first reply that differs",
                field=name,
            )
    return ours[:shared], ours[-1].to_dict(), theirs[-1].to_dict()


def _common_text(chosen: str, rejected: str) -> int:
    """Length of the shared beginning of two texts, cut where a reply or at least a word begins.

    >>> _common_text("The sky is blue.", "The sky is black."), len("The sky is")
    (10, 10)
    """
    if chosen == rejected:
        raise DataError("chosen and rejected are the same; remove the row", field="rejected")
    shared = _common_prefix(chosen, rejected)
    agent = shared.rfind(AGENT)
    at = agent + len(AGENT) if agent >= 0 else max(shared.rfind(" "), shared.rfind("\n"))
    if at <= 0:
        raise DataError(
            "no 'prompt', and chosen and rejected share no beginning to make one of", field="prompt"
        )
    return at


def _common_prefix(a: str, b: str) -> str:
    """What two texts have in common from their start."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return a[:i]
    return min(a, b, key=len)
