"""HH-RLHF (Anthropic, arXiv 2204.05862): transcripts ``\\n\\nHuman: ...\\n\\nAssistant: ...`` in ``chosen`` and ``rejected``,
read as chat.

``format="pairs"`` keeps such transcripts as plain text. HH as chat (lists of messages without a prompt) is canonical.
"""

from __future__ import annotations

import re
from typing import Any

from halign.errors import DataError
from halign.readers.foreign.contract import Foreign, Row, all_text, text

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
OPENING = re.compile(r"\s*Human:")
ROLES = {"Human": "user", "Assistant": "assistant"}


def _sees(row: Row) -> str:
    if type(row["chosen"]) is not str:  # said of every row of every file of pairs, so the quick answer first
        return ""
    if not all_text(row, "chosen", "rejected") or not isinstance(row.get("prompt", ""), str):
        return ""
    opened = [row["prompt"]] if "prompt" in row else [row["chosen"], row["rejected"]]
    if not all(OPENING.match(t) and "\n\nAssistant:" in t for t in opened):
        return ""
    which = "'prompt' is a transcript" if "prompt" in row else "'chosen' and 'rejected' are transcripts"
    return f"{which} of 'Human:' and 'Assistant:'; read as chat (plain text with --format pairs)"


def turns(transcript: str, field: str) -> list[dict[str, Any]]:
    """The messages of a transcript.

    >>> [(m["role"], m["content"]) for m in turns("\\n\\nHuman: Hi\\n\\nAssistant: Hello\\n\\nwhoever", "chosen")]
    [('user', 'Hi'), ('assistant', 'Hello\\n\\nwhoever')]
    """
    opening, *rest = TURN.split(transcript)
    if opening.strip() or not rest:
        raise DataError(
            "this transcript does not open with 'Human:' or 'Assistant:'; plain text is read with --format pairs",
            field=field,
        )
    return [
        {"role": ROLES[who], "content": said.strip()} for who, said in zip(rest[::2], rest[1::2], strict=True)
    ]


def _row(row: Row) -> dict[str, Any]:
    before = text(row, "prompt") if "prompt" in row else ""
    return {side: turns(before + text(row, side), side) for side in ("chosen", "rejected")}


FORMATS = (
    Foreign(
        name="hh",
        title="HH-RLHF transcripts",
        needs=("chosen", "rejected"),
        reads_as="pairs",
        sees=_sees,
        row=_row,
        takes=("prompt",),
        over=("pairs",),
    ),
)
