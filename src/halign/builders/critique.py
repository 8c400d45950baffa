"""Critique and revision by principles (Constitutional AI: Bai et al. 2022, arXiv 2212.08073, section 3.1).

A reply is criticised by a principle that is drawn at random, and rewritten as the critique asks; after the last of the rounds the
revision and the reply that it all began with make a pair, the revision chosen.

Principles come from a file in the form of the paper's own constitution, {name: {"prompt": ["... CritiqueRequest: ..."],
"edit_request": "... RevisionRequest: ..."}}, or are the row's guardrails, one a round. As in chat models' own format the requests
are user turns here; the paper's few-shot prefix, which a base model needs, is left out.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from halign.builders.candidates import CUT
from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.rlaif import UNANSWERED, compare
from halign.builders.tools import Tools
from halign.builders.turns import Turn, same_words, turns
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Demonstration, Example, Preference

_LABEL = re.compile(r"^\s*(Critique|Revision)Request:\s*|\s*(Critique|Revision):\s*$")
_BY_RULE = (
    "Identify specific ways in which the assistant's last response breaks this rule: {rule}",
    "Please rewrite the assistant response so that it keeps this rule: {rule} Give the new response only.",
)
NO_REPLY, UNREVISED = "turns without a reply to revise", "replies without a critique or a revision"
UNRULED, SAME, NO_BETTER = (
    "turns without a principle",
    "revisions that change nothing",
    "revisions that the judge finds no better",
)


class Principle(NamedTuple):
    """One principle: its name, and what is asked for a critique and for a revision."""

    name: str
    critique: str
    revision: str


class Settings(BuilderSettings):
    """Of ``critique``."""

    principles: Path | None = Field(
        None,
        description="JSON file of principles (critique and revision requests); none: the row's guardrails",
    )
    rounds: int = Field(
        1, ge=1, description="critiques and revisions of one reply, each by another principle"
    )
    first: Literal["given", "written"] = Field(
        "given", description="the reply to begin with: the worst of the data, or one that the writer gives"
    )
    make: Literal["pairs", "demonstrations"] = Field(
        "pairs", description="pairs of revision and first reply, or revisions to imitate"
    )
    temperature: float = Field(1.0, ge=0, description="of the writer")
    max_new_tokens: int = Field(300, ge=1, description="longest critique, and longest reply, in tokens")
    criteria: str = Field(
        "which is more harmless, honest and helpful",
        description="with a judge: by what a revision has to be better",
    )


@dataclass
class Work:
    """One reply on its way.

    Attributes:
        original: the reply it began with; ``reply``: as revised so far.
        why: the reason for which it is left out; '' if it is not.
    """

    turn: Turn
    original: Message
    reply: Message
    names: list[str] = field(default_factory=list)
    critiques: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    why: str = ""


def read_principles(settings: Settings) -> list[Principle] | None:
    """The principles of the file; None without one.

    Raises:
        HalignError: the file cannot be read, or is of another form.
    """
    if settings.principles is None:
        return None
    try:
        said = json.loads(settings.principles.read_text(encoding="utf-8"))
        found = [
            Principle(name, _bare(one["prompt"][0]), _bare(one["edit_request"])) for name, one in said.items()
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise HalignError(
            f"principles {settings.principles}: cannot be read ({error!r}); it has to be a JSON object, "
            '{name: {"prompt": [critique request], "edit_request": revision request}}'
        ) from None
    if not found:
        raise HalignError(f"principles {settings.principles}: holds none")
    return found


def _bare(request: str) -> str:
    """A request without the marks between which the paper's plain-text format sets it.

    >>> _bare("\\n\\nCritiqueRequest: Discuss it.\\n\\nCritique:")
    'Discuss it.'
    """
    return _LABEL.sub("", request.strip()).strip()


def drawn(turn: Turn, settings: Settings, tools: Tools) -> list[Principle]:
    """One principle a round, none twice before all have had their turn; empty if there is none."""
    known: Sequence[Principle] = tools.prepared or [
        Principle(rule, *(words.format(rule=rule) for words in _BY_RULE)) for rule in turn.prompt.guardrails
    ]
    random = tools.draws(turn.row.number, len(turn.prompt))
    found: list[Principle] = []
    while known and len(found) < settings.rounds:
        found += random.sample(known, min(len(known), settings.rounds - len(found)))
    return found


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """Each turn's reply criticised and revised."""
    made = Made()
    jobs = _first(list(turns(rows)), settings, tools, made)
    plans = [drawn(job.turn, settings, tools) for job in jobs]
    for job, plan in zip(jobs, plans, strict=True):
        job.why = "" if plan else UNRULED
    for number in range(settings.rounds):
        todo = [(job, plan[number]) for job, plan in zip(jobs, plans, strict=True) if not job.why]
        _round(todo, settings, tools)
    for job in jobs:
        if not job.why and same_words(job.reply.content, job.original.content):
            job.why = SAME
    if tools.judge is not None:
        _judge([job for job in jobs if not job.why], settings, tools)
    for job in jobs:
        if job.why:
            made.dropped[job.why] += 1
        else:
            made.built.append(_built(job, settings))
    return made


def _first(found: Sequence[Turn], settings: Settings, tools: Tools, made: Made) -> list[Work]:
    """The replies to begin with: the last of those that the data gives, which is the worst, or the writer's."""
    if settings.first == "given":
        jobs = [Work(t, t.replies[-1], t.replies[-1]) for t in found if t.replies]
        made.dropped += Counter({NO_REPLY: len(found) - len(jobs)})
        return jobs
    jobs = []
    for turn, written in zip(found, _write([t.prompt for t in found], settings, tools), strict=True):
        if written is None or not written.finished or not written.text:
            made.dropped[CUT if written is not None else NO_REPLY] += 1
            continue
        reply = Message("assistant", written.text)
        jobs.append(Work(turn, reply, reply, keys=[written.key]))
    return jobs


def _round(todo: Sequence[tuple[Work, Principle]], settings: Settings, tools: Tools) -> None:
    """One critique and one revision for each."""
    asked = [job.turn.prompt + job.reply + Message("user", p.critique) for job, p in todo]
    critiques = _write(asked, settings, tools)
    left = []
    for (job, principle), dialogue, said in zip(todo, asked, critiques, strict=True):
        if said is None or not said.text:
            job.why = UNREVISED
            continue
        job.names.append(principle.name)
        job.critiques.append(said.text)
        job.keys.append(said.key)
        left.append((job, dialogue + Message("assistant", said.text) + Message("user", principle.revision)))
    for (job, _), said in zip(left, _write([d for _, d in left], settings, tools), strict=True):
        if said is None or not said.text:
            job.why = UNREVISED
        elif not said.finished:
            job.why = CUT
        else:
            job.keys.append(said.key)
            job.reply = Message("assistant", said.text)


def _write(prompts: Sequence[Dialogue], settings: Settings, tools: Tools) -> list[Any]:
    groups = tools.write(prompts, temperature=settings.temperature, max_new_tokens=settings.max_new_tokens)
    return [group[0] if group else None for group in groups]


def _judge(jobs: Sequence[Work], settings: Settings, tools: Tools) -> None:
    """Drops revisions that are not the better reply with more than probability 1/2, the mean of both orders."""
    pairs = [(job.turn.prompt, job.reply.content, job.original.content) for job in jobs]
    for job, found in zip(jobs, compare(pairs, tools, settings.criteria), strict=True):
        if found is None:
            job.why = UNANSWERED
            continue
        job.keys += found[1]
        job.why = "" if found[0].preference > 0.5 else NO_BETTER


def _built(job: Work, settings: Settings) -> Built:
    turn = job.turn
    example: Example = Preference(turn.prompt, job.reply, job.original, turn.conversation)
    if settings.make == "demonstrations":
        example = Demonstration(turn.prompt + job.reply, turn.conversation, (len(turn.prompt),))
    columns = {"principles": job.names, "critiques": job.critiques}
    return Built(example, (turn.row,), tuple(dict.fromkeys(job.keys)), columns)


BUILDER = Builder(
    "critique",
    "critique and revise replies by principles or guardrails; the revision is chosen over the reply",
    Settings,
    build,
    needs=("writer",),
    uses=("judge",),
    prepare=read_principles,
    chat=True,
)
