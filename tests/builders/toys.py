"""Builders small enough to know what they must give."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, Field

from halign.builders import Builder, BuilderSettings, Built, Made
from halign.dialogue import Dialogue
from halign.examples import Demonstration


class Settings(BuilderSettings):
    """Settings of the toys."""

    least: int = Field(0, description="words that a reply must have")
    policy: Path | None = Field(None, description="a file")


class Word(BaseModel):
    """What is asked for as an object."""

    word: str


KILL_AT = itertools.count()
"""How many chunks have been built by this process."""


def by_rules(rows, settings, tools):
    """Each conversation again, with a number drawn for it; short replies are dropped; dies where the environment says."""
    if str(next(KILL_AT)) == os.environ.get("TOY_DIES_AT"):
        os._exit(9)
    made = Made()
    before = sum(1 for _ in tools.so_far())
    for row in rows:
        made.tallies["words"] += len(row.replies[0].content.split())
        if len(row.replies[0].content.split()) < settings.least:
            made.dropped["too short"] += 1
            continue
        columns = {"drawn": tools.draws(row.conversation).randrange(1000), "before": before}
        made.built.append(Built(Demonstration(row.dialogue, row.conversation), (row,), columns=columns))
    return made


def written(rows, settings, tools):
    """Each last reply written anew, and judged; two rows make one example where the writer is asked for an object."""
    made = Made()
    prompts = [r.dialogue[:-1] for r in rows]
    replies = tools.write(prompts, n=2, max_new_tokens=5, temperature=0.7)
    chances = tools.ask([f"Is {r.dialogue.messages[0].content} good?" for r in rows])
    for row, group, chance in zip(rows, replies, chances, strict=True):
        if not group or chance is None:
            made.dropped["no reply"] += 1
            continue
        said = replace(row.dialogue.messages[-1], content=" | ".join(w.text for w in group))
        keys = (*(w.key for w in group), *chance.keys)
        example = Demonstration(row.dialogue[:-1] + said, row.conversation)
        made.built.append(Built(example, (row,), keys, {"yes": round(chance.yes, 6)}))
    return made


def objects(rows, settings, tools):
    """One word for each chunk."""
    prompt = Dialogue.of([{"role": "user", "content": " ".join(r.conversation for r in rows)}])
    (answer,) = tools.fill([prompt], Word)
    if answer is None:
        return Made(dropped=Made().dropped + {"no object": 1})
    example = Demonstration(
        Dialogue.of([{"role": "assistant", "content": answer.value.word}]), rows[0].conversation
    )
    return Made([Built(example, tuple(rows), (answer.key,))])


RULES = Builder("rules", "a toy", Settings, by_rules, notes=lambda s, p, t: [f"{t['words']} words"])
WRITTEN = Builder("written", "a toy", Settings, written, needs=("writer", "judge"))
OBJECTS = Builder("objects", "a toy", Settings, objects, needs=("writer",))
