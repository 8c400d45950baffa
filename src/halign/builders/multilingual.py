"""Data in another language from data in one, by translating before or after the answer.

- ``post_answering``: the query is translated, and the writer answers in that language;
- ``post_translating``: the answer, the data's own or the writer's, is given in the data's language, and both are translated.

The names are those of Wang et al. 2023, "Aligning large language models with human: a survey", arXiv 2307.12966. The first is
more natural in the language, the second keeps to what the model knows best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from halign.builders.candidates import CUT
from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.builders.turns import Turn, same_words, turns
from halign.builders.writers import Written
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Demonstration
from halign.judges.questions import filled

TRANSLATE = """\
Translate the text below into {{ language }}. Do not answer it and add nothing: give the translation only.

{{ text }}"""
UNTRANSLATED, UNANSWERED = "turns that were not translated", "turns without an answer"


class Settings(BuilderSettings):
    """Of ``multilingual``."""

    language: str = Field(description="into which language, in English: German")
    way: Literal["post_answering", "post_translating"] = Field(
        "post_answering", description="what is translated"
    )
    answers: Literal["given", "written"] = Field(
        "given", description="with post_translating: the data's own answers, or the writer's"
    )
    temperature: float = Field(1.0, ge=0, description="of answers; translations are written at 0")
    max_new_tokens: int = Field(
        400, ge=1, description="longest answer, and longest translation of a message, in tokens"
    )


@dataclass(frozen=True)
class Work:
    """A turn with its answer, where it has one already."""

    turn: Turn
    dialogue: Dialogue
    keys: tuple[str, ...] = ()


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """Every turn in the other language."""
    made = Made()
    found = [Work(t, t.prompt) for t in turns(rows)]
    if settings.way == "post_answering":
        done = list(_answered(_translated(found, settings, tools, made), settings, tools, made))
    else:
        if settings.answers == "given":
            given = [replace(w, dialogue=w.dialogue + a) for w in found if (a := w.turn.answer) is not None]
            made.dropped.update([UNANSWERED] * (len(found) - len(given)))
        else:
            given = list(_answered(found, settings, tools, made))
        done = _translated(given, settings, tools, made)
    for work in done:
        example = Demonstration(work.dialogue, work.turn.conversation, (len(work.turn.prompt),))
        columns = {"language": settings.language, "way": settings.way}
        made.built.append(Built(example, (work.turn.row,), tuple(dict.fromkeys(work.keys)), columns))
    return made


def _answered(work: Sequence[Work], settings: Settings, tools: Tools, made: Made) -> Iterator[Work]:
    groups = tools.write(
        [w.dialogue for w in work], temperature=settings.temperature, max_new_tokens=settings.max_new_tokens
    )
    for one, group in zip(work, groups, strict=True):
        if (why := _unfit(group)) is not None:
            made.dropped[why or UNANSWERED] += 1
            continue
        said = group[0]
        yield replace(
            one, dialogue=one.dialogue + Message("assistant", said.text), keys=(*one.keys, said.key)
        )


def _translated(work: Sequence[Work], settings: Settings, tools: Tools, made: Made) -> list[Work]:
    """The dialogues, message by message, each text once. One whose last message comes back as it was is left out: it was not
    translated."""
    texts = list(dict.fromkeys(m.content for w in work for m in w.dialogue.messages if m.content.strip()))
    asked = [
        Dialogue((Message("user", filled(TRANSLATE, language=settings.language, text=t)),)) for t in texts
    ]
    groups = tools.write(asked, temperature=0.0, max_new_tokens=settings.max_new_tokens)
    known = dict(zip(texts, groups, strict=True))
    found = []
    for one in work:
        said = [known.get(m.content) for m in one.dialogue.messages]
        whys = [why for group in said if group is not None and (why := _unfit(group)) is not None]
        last = one.dialogue.messages[-1].content
        if whys or (last in known and same_words(known[last][0].text, last)):
            made.dropped[CUT if CUT in whys else UNTRANSLATED] += 1
            continue
        messages = tuple(
            replace(m, content=group[0].text) if group else m
            for m, group in zip(one.dialogue.messages, said, strict=True)
        )
        keys = tuple(group[0].key for group in said if group)
        found.append(replace(one, dialogue=replace(one.dialogue, messages=messages), keys=(*one.keys, *keys)))
    return found


def _unfit(group: Sequence[Written]) -> str | None:
    """Why a reply will not do: cut off, or ('') not there; None if it will."""
    if not group or not group[0].text:
        return ""
    return None if group[0].finished else CUT


BUILDER = Builder(
    "multilingual",
    "queries and answers in another language: translated before or after they are answered",
    Settings,
    build,
    needs=("writer",),
    chat=True,
)
