"""The 252 user-oriented instructions of self-instruct (Wang et al. 2022, arXiv 2212.10560): rated, or against a baseline."""

from __future__ import annotations

from halign.suites import open_ended
from halign.suites.contract import Question, Suite, one_turn
from halign.suites.files import Files, SetFile
from halign.suites.open_ended import PROMPTS, OpenSettings


def questions(files: Files, settings: OpenSettings) -> list[Question]:
    """One question a row: the instruction and, where there is one, its input on lines of its own."""
    return [
        Question(
            str(row["id"]),
            one_turn("\n\n".join(part for part in (row["instruction"], row["input"]) if part)),
            meta={"reference": row["output"]},
        )
        for row in files.of_fields("questions", ("id", "instruction", "input", "output"))
    ]


SUITE = Suite(
    "user_oriented",
    "252 user-oriented instructions: ratings from 1 to 10, or win rate against a baseline",
    {
        "questions": SetFile(
            ("user_oriented.jsonl",),
            "github.com/yizhongw/self-instruct, human_eval/user_oriented_instructions.jsonl (one row an instance: id, "
            "instruction, input, output)",
        ),
        "prompts": PROMPTS,
    },
    OpenSettings,
    questions,
    open_ended.score,
    judge="needed",
    others=open_ended.others,
)
