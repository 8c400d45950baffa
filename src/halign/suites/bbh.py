"""BIG-Bench Hard: 27 tasks, exact match of the answer (Suzgun et al. 2022, arXiv 2210.09261).

The reply's answer is what stands behind its last "the answer is", else the whole reply; a final full stop does not count. Without
chain of thought the model is asked for the answer alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import Field

from halign.judges.records import GradeRecord
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings, one_turn
from halign.suites.files import Files, SetFile

THINK = "Let's think step by step. End with: So the answer is ANSWER."
ALONE = "Answer with the answer alone, without any explanation."
_ANSWER = re.compile(r"the answer is:?\s*", re.I)


class BBHSettings(SuiteSettings):
    """Settings of BIG-Bench Hard."""

    think: bool = Field(True, description="ask for a chain of thought before the answer")


def questions(files: Files, settings: BBHSettings) -> list[Question]:
    """One question a row: id, task, input, target."""
    ask = THINK if settings.think else ALONE
    return [
        Question(
            str(row["id"]),
            one_turn(f"{row['input']}\n\n{ask}"),
            meta={"task": row["task"], "reference": row["target"]},
        )
        for row in files.of_fields("questions", ("id", "task", "input", "target"))
    ]


def answer(reply: str) -> str:
    """The answer that a reply gives.

    >>> answer("3 before 4. So the answer is (B)."), answer("] ]"), answer("The answer is no.\\nReally.")
    ('(B)', '] ]', 'no')
    """
    found = list(_ANSWER.finditer(reply))
    said = reply[found[-1].end() :].strip().split("\n")[0] if found else reply
    return re.sub(r"\s*\.$", "", said.strip())


def score(answered: Sequence[Answered], settings: BBHSettings, bench: Bench) -> list[GradeRecord]:
    """For each draw whether its answer is the target, letter by letter."""
    found = []
    for a in answered:
        for d, (reply, *_) in enumerate(a.draws):
            right = answer(reply) == a.question.meta["reference"].strip()
            found.append(
                GradeRecord(
                    dimension="exact match",
                    judge="exact match",
                    model=bench.model,
                    value=float(right),
                    acceptable=right,
                    **a.place(d),
                )
            )
    return found


SUITE = Suite(
    "bbh",
    "BIG-Bench Hard, 27 tasks of reasoning: exact match of the answer",
    {
        "questions": SetFile(
            ("bbh.jsonl", "bbh_small.jsonl"),
            "github.com/suzgunmirac/BIG-Bench-Hard, bbh/*.json (as rows of id, task, input, target)",
        )
    },
    BBHSettings,
    questions,
    score,
    groups=("task",),
)
