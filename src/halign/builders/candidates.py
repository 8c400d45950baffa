"""Replies between which a judge is asked to choose: those of the data, or some that the writer draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from halign.builders.contract import BuilderSettings, Made
from halign.builders.tools import Tools
from halign.builders.turns import Turn, reply_to, turns
from halign.curation.source import Row
from halign.dialogue import Message
from halign.errors import HalignError
from halign.judges.questions import CRITERIA

CUT = "replies that were cut off"
Candidates = tuple[Turn, list[tuple[Message, tuple[str, ...]]]]
"""A turn with its replies, and for each the keys of what it was drawn from (none for those of the data)."""


class CandidateSettings(BuilderSettings):
    """Of builders that judge replies."""

    candidates: Literal["given", "written"] = Field(
        "given", description="which replies are judged: those of the data, or replies that the writer draws"
    )
    samples: int = Field(4, ge=1, description="replies that the writer draws for a prompt")
    temperature: float = Field(1.0, gt=0, description="of the writer")
    max_new_tokens: int = Field(200, ge=1, description="longest reply of the writer, in tokens")
    criteria: str = Field(CRITERIA, description="what counts, in words")


def candidates(
    rows: Sequence[Row], settings: CandidateSettings, tools: Tools, made: Made
) -> Iterator[Candidates]:
    """Each turn with its replies. Of the writer's those that were cut off are left out and counted.

    Raises:
        HalignError: the writer is to draw, and there is none.
    """
    found = list(turns(rows))
    if settings.candidates == "given":
        for turn in found:
            yield turn, [(m, ()) for m in turn.replies]
        return
    if tools.writer is None:
        raise HalignError("candidates=written needs a writer: --model DIR, or --endpoint URL --llm NAME")
    drawn = tools.write(
        [t.prompt for t in found],
        n=settings.samples,
        temperature=settings.temperature,
        max_new_tokens=settings.max_new_tokens,
    )
    for turn, group in zip(found, drawn, strict=True):
        made.dropped += Counter({CUT: sum(not w.finished for w in group)})
        yield turn, [(reply_to(turn.prompt, w.text), (w.key,)) for w in group if w.finished]
