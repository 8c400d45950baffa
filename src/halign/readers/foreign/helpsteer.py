"""HelpSteer2 (arXiv 2406.08673): a reply with five attributes from 0 to 4; and its preferences (arXiv 2410.01257), two replies
with a strength from -3 (the first is much better) to 3 (the second is).

A prompt is a user message; one of several turns is marked ``<extra_id_1>Assistant`` and ``<extra_id_1>User``, as published.

A strength s is no probability, and HelpSteer2-Preference does not make one of it. Here ``preference`` = 1/2 + |s| / 6: 2/3
(slightly better), 5/6 (better), 1 (much better), and 1/2 for 0. That is a choice of ours. The margin |s|, which the paper weighs
Bradley-Terry terms with, and the strength are kept in ``meta``.
"""

from __future__ import annotations

import re
from typing import Any

from halign.dialogue import Dialogue
from halign.readers.foreign.contract import Foreign, Row, all_text, text, user, whole
from halign.readers.naming import opening_name

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
TURN = re.compile(r"\n*<extra_id_1>(User|Assistant)\n")
STRENGTH = "preference_strength"


def prompt(row: Row) -> list[dict[str, Any]]:
    """The turns of a prompt.

    >>> [m["role"] for m in prompt({"prompt": "Hi\\n\\n<extra_id_1>Assistant\\nHello\\n\\n<extra_id_1>User\\nBye"})]
    ['user', 'assistant', 'user']
    """
    first, *rest = TURN.split(text(row, "prompt"))
    turns = user(first) if first.strip() else []
    return turns + [
        {"role": r.lower(), "content": c.strip("\n")} for r, c in zip(rest[::2], rest[1::2], strict=True)
    ]


def _sees(row: Row) -> str:
    if not all_text(row, "prompt", "response"):
        return ""
    return f"a text 'prompt' and 'response' with {', '.join(ATTRIBUTES)}"


def _row(row: Row) -> dict[str, Any]:
    turns = prompt(row)
    reply = {
        "role": "assistant",
        "content": text(row, "response"),
        "attributes": {a: whole(row[a], a, 0, 4) for a in ATTRIBUTES},
    }
    return {"prompt": turns, "completion": [reply], "conversation": opening_name(Dialogue.of(turns))}


def _sees_preference(row: Row) -> str:
    if not all_text(row, "prompt", "response_1", "response_2"):
        return ""
    return f"texts 'prompt', 'response_1' and 'response_2' with {STRENGTH!r}"


def _preference(row: Row) -> dict[str, Any]:
    strength = whole(row[STRENGTH], STRENGTH, -3, 3)
    first, second = text(row, "response_1"), text(row, "response_2")
    better, worse = (second, first) if strength > 0 else (first, second)
    return {
        "prompt": prompt(row),
        "chosen": better,
        "rejected": worse,
        "preference": 0.5 + abs(strength) / 6,
        "meta": {STRENGTH: strength, "margin": abs(strength)},
    }


FORMATS = (
    Foreign(
        name="helpsteer2",
        title="HelpSteer2",
        needs=("prompt", "response", *ATTRIBUTES),
        reads_as="completions",
        sees=_sees,
        row=_row,
        over=("completions",),
        renamed=((r"^completion\[0\]\.content", "response"),),
        numbers=ATTRIBUTES,
    ),
    Foreign(
        name="helpsteer2_preferences",
        title="HelpSteer2-Preference",
        needs=("prompt", "response_1", "response_2", STRENGTH),
        reads_as="pairs",
        sees=_sees_preference,
        row=_preference,
        numbers=(STRENGTH,),
        lists=("all_preferences_unprocessed", "three_most_similar_preferences"),
    ),
)
