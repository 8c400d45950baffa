"""Files to build from, a judge and a writer whose every answer a test says, and what a build wrote."""

from __future__ import annotations

import gzip
import json
import re

from halign.builders.driver import build
from halign.builders.tools import Tools
from halign.builders.writers import Written
from halign.curation.source import RowSource
from halign.judges.yes_no import Chance
from halign.llm import Failure
from halign.readers import write_rows


class Says:
    """A writer; ``words(dialogue, sample)`` is its reply, None for none, and " ..." at its end a reply that was cut off."""

    identity = {"model": "says"}  # noqa: RUF012

    def __init__(self, words):
        self.words, self.asked = words, []

    def write(self, prompts, settings):
        self.asked += list(prompts)
        return [self._group(i, p, settings) for i, p in enumerate(prompts)]

    def _group(self, place, prompt, settings):
        said = [self.words(prompt, k) for k in range(settings.n)]
        if None in said:
            return Failure(place, "prompt", "no answer")
        return [Written(s.removesuffix(" ..."), f"key {s}", not s.endswith(" ...")) for s in said]


class Thinks:
    """A judge; ``chance(question)`` is its P(yes), None for no answer."""

    def __init__(self, chance):
        self.chance, self.asked = chance, []

    def ask(self, questions):
        self.asked += list(questions)
        found = [self.chance(q) for q in questions]
        return [
            Failure(i, q, "no answer") if p is None else Chance(p, (f"judge {p}",))
            for i, (q, p) in enumerate(zip(questions, found, strict=True))
        ]


def part(question, start, end):
    """What stands between two lines of a question."""
    return re.search(f"{start}\n(.*?)\n\n{end}", question, re.DOTALL).group(1)


def run(builder, tmp_path, rows, settings=None, name="out.jsonl", **tools):
    """(report, rows) of one build."""
    write_rows(rows, tmp_path / "in.jsonl")
    given = builder.settings(**(settings or {}))
    report = build(builder, RowSource(tmp_path / "in.jsonl"), tmp_path / name, given, Tools(**tools))
    return report, lines(tmp_path / name)


def lines(path):
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def user(words):
    return {"role": "user", "content": words}


def agent(words, **more):
    return {"role": "assistant", "content": words, **more}
