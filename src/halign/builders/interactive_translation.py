"""Interactive translation: a text is translated, and the translation revised turn by turn as the user directs (BayLing: Zhang et
al. 2023, arXiv 2306.10968).

    user       Translate the text below into English. ...        from the row
    assistant  Though miles apart, we share the same bond ...    the row's translation, or the writer's
    user       Start with 'distance'.                            a direction: by rule, or the writer's as the user
    assistant  Distance may span, yet we understand ...          the writer's revision of its last translation

Directions by rule (``translation_directions``) are ones that the translation does not keep yet, and that a revision can be seen
to keep; those that the writer makes up, speaking as the user, cannot. A judge, where there is one, is asked whether a revision
heeds its direction and still translates the text. The dialogue ends before the first direction that was not kept or heeded, or
that changed nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from halign.builders.candidates import CUT
from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.builders.translation_directions import Direction, by_rule
from halign.builders.turns import same_words, turns
from halign.builders.writers import Written
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.examples import Demonstration
from halign.judges.questions import filled

ASK = """\
Translate the text below into {{ language }}. Give the translation only.

{{ text }}"""
DIRECT = """\
You speak as somebody who has a text translated into {{ language }} and wants the translation changed.

Text:
{{ text }}

Translation so far:
{{ translation }}
{% if before %}
You have asked for already:
{% for said in before %}- {{ said }}
{% endfor %}{% endif %}
Say in one sentence what is to be changed next: tone, length, rhyme, a word, the order. Say nothing else."""
HEEDED = """\
Text:
{{ text }}

Translation before:
{{ before }}

Asked for:
{{ direction }}

Translation after:
{{ after }}

Is the translation after still a translation of the text, and does it heed what was asked for?"""

UNTRANSLATED, SHORT = "rows without a translation", "dialogues with too few directions"
UNKEPT, UNHEEDED = "directions that were not kept", "directions that were not heeded, says the judge"
REPEATED, SILENT = (
    "revisions that change nothing",
    "directions or revisions that were not written, or cut off",
)
UNJUDGED = "revisions without an answer of the judge"


class Settings(BuilderSettings):
    """Of ``interactive_translation``."""

    language: str = Field(description="into which language, in English: German")
    first: Literal["auto", "given", "written"] = Field(
        "auto",
        description="the first translation: the row's own reply, the writer's, or (auto) the row's where it has one",
    )
    directions: Literal["rules", "free"] = Field(
        "rules", description="what the user asks for next: by rule, or written by the writer as the user"
    )
    turns: int = Field(3, ge=1, description="directions of a dialogue at most")
    least: int = Field(1, ge=1, description="directions that a dialogue must have")
    temperature: float = Field(
        1.0, ge=0, description="of directions and revisions; a first translation is written at 0"
    )
    max_new_tokens: int = Field(400, ge=1, description="longest message of the writer, in tokens")


@dataclass
class Session:
    """One dialogue on its way.

    Attributes:
        translation: the last one.
        asked: directions that were followed.
        next: the one that is open.
        over: nothing more is said.
    """

    row: Row
    text: str
    dialogue: Dialogue
    translation: str = ""
    asked: list[Direction] = field(default_factory=list)
    next: Direction | None = None
    keys: list[str] = field(default_factory=list)
    over: bool = False


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """A dialogue about the text of each row: the last message of its first prompt."""
    made = Made()
    sessions = _translated(rows, settings, tools, made)
    for _ in range(settings.turns):
        _direct([s for s in sessions if not s.over], settings, tools, made)
        _revise([s for s in sessions if not s.over], settings, tools, made)
    for session in sessions:
        if len(session.asked) < settings.least:
            made.dropped[SHORT] += 1
            continue
        made.tallies["directions"] += len(session.asked)
        made.built.append(_built(session, settings))
    return made


def _built(session: Session, settings: Settings) -> Built:
    spoken = tuple(i for i, m in enumerate(session.dialogue.messages) if m.role == "assistant")
    columns = {"language": settings.language, "directions": [d.kind for d in session.asked]}
    example = Demonstration(session.dialogue, session.row.conversation, spoken)
    return Built(example, (session.row,), tuple(dict.fromkeys(session.keys)), columns)


# -- the first translation -----------------------------------------------------------------------------------------


def _translated(rows: Sequence[Row], settings: Settings, tools: Tools, made: Made) -> list[Session]:
    """The rows' texts with a first translation each."""
    given, asked = [], []
    for turn in {t.row.number: t for t in reversed(list(turns(rows)))}.values():
        text = turn.prompt.messages[-1].content
        words = filled(ASK, language=settings.language, text=text)
        session = Session(turn.row, text, Dialogue((Message("user", words),)))
        answer = turn.answer if settings.first != "written" else None
        own = answer.content if answer is not None else ""
        if own:
            session.translation = own
            given.append(session)
        elif settings.first != "given":
            asked.append(session)
        else:
            made.dropped[UNTRANSLATED] += 1
    written = tools.write(
        [s.dialogue for s in asked], temperature=0.0, max_new_tokens=settings.max_new_tokens
    )
    for session, group in zip(asked, written, strict=True):
        said = _whole(group)
        if said is None or same_words(said.text, session.text):
            made.dropped[CUT if group and not group[0].finished else UNTRANSLATED] += 1
            continue
        session.translation = said.text
        session.keys.append(said.key)
        given.append(session)
    for session in given:
        session.dialogue += Message("assistant", session.translation)
    return sorted(given, key=lambda s: s.row.number)


# -- directions ----------------------------------------------------------------------------------------------------


def _direct(sessions: Sequence[Session], settings: Settings, tools: Tools, made: Made) -> None:
    """What each user asks for next; where there is nothing, the dialogue is over."""
    if settings.directions == "rules":
        for s in sessions:
            random = tools.draws(s.row.number, "direction", len(s.asked))
            s.next = by_rule(s.translation, {d.kind for d in s.asked}, random)
    else:
        asked = [
            Dialogue((Message("user", filled(DIRECT, language=settings.language, text=s.text,
                                             translation=s.translation, before=[d.text for d in s.asked])),))
            for s in sessions
        ]  # fmt: skip
        groups = tools.write(asked, temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
        for s, group in zip(sessions, groups, strict=True):
            said = _whole(group)
            if said is None:
                made.dropped[SILENT] += 1
            elif not any(same_words(said.text, d.text) for d in s.asked):
                s.next = Direction("free", said.text, keys=(said.key,))
    for s in sessions:
        s.over = s.next is None


# -- revisions -----------------------------------------------------------------------------------------------------


def _revise(sessions: Sequence[Session], settings: Settings, tools: Tools, made: Made) -> None:
    """What the writer makes of each direction; a dialogue whose direction was not followed ends before it."""
    asked = [s.dialogue + Message("user", s.next.text) for s in sessions if s.next is not None]
    groups = tools.write(asked, temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
    kept: list[tuple[Session, Written]] = []
    for session, group in zip(sessions, groups, strict=True):
        said = _whole(group)
        why = SILENT if said is None else _wrong(session, said.text)
        if said is None or why:
            made.dropped[why] += 1
            session.over = True
        else:
            kept.append((session, said))
    for (session, said), (why, keys) in zip(kept, _judged(kept, tools), strict=True):
        if why:
            made.dropped[why] += 1
            session.over = True
            continue
        assert session.next is not None
        session.dialogue += Message("user", session.next.text)
        session.dialogue += Message("assistant", said.text)
        session.translation = said.text
        session.asked.append(session.next)
        session.keys += [*session.next.keys, said.key, *keys]


def _wrong(session: Session, said: str) -> str:
    """What is plainly wrong with a revision; "" if nothing is."""
    assert session.next is not None
    if same_words(said, session.translation) or same_words(said, session.text):
        return REPEATED
    return UNKEPT if session.next.kept is not None and not session.next.kept(said) else ""


def _judged(revised: Sequence[tuple[Session, Written]], tools: Tools) -> list[tuple[str, tuple[str, ...]]]:
    """(what the judge has against each revision or "", keys of its answers)."""
    if tools.judge is None:
        return [("", ())] * len(revised)
    questions = [
        filled(
            HEEDED, text=s.text, before=s.translation, direction=s.next.text if s.next else "", after=w.text
        )
        for s, w in revised
    ]
    answers = tools.ask(questions)
    return [(UNJUDGED, ()) if a is None else (UNHEEDED if a.yes <= 0.5 else "", a.keys) for a in answers]


def _whole(group: Sequence[Written]) -> Written | None:
    """The reply, if there is one that was not cut off."""
    return group[0] if group and group[0].finished and group[0].text else None


BUILDER = Builder(
    "interactive_translation",
    "dialogues in which a text is translated and the translation revised as the user directs (BayLing)",
    Settings,
    build,
    needs=("writer",),
    uses=("judge",),
    chat=True,
)
