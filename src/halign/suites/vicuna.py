"""Vicuna's 80 questions: open-ended, of nine categories; rated, or compared with a baseline."""

from __future__ import annotations

from halign.suites import open_ended
from halign.suites.contract import Question, Suite, one_turn
from halign.suites.files import Files, SetFile
from halign.suites.open_ended import FASTCHAT, PROMPTS, OpenSettings


def questions(files: Files, settings: OpenSettings) -> list[Question]:
    """One question a row: question_id, category, turns."""
    return [
        Question(
            f"vicuna-{row['question_id']}", one_turn(row["turns"][0]), meta={"category": row["category"]}
        )
        for row in files.of_fields("questions", ("question_id", "category", "turns"))
    ]


SUITE = Suite(
    "vicuna",
    "80 open-ended questions: ratings from 1 to 10, or win rate against a baseline",
    {
        "questions": SetFile(("vicuna_bench_questions.jsonl",), f"{FASTCHAT}/vicuna_bench/question.jsonl"),
        "prompts": PROMPTS,
    },
    OpenSettings,
    questions,
    open_ended.score,
    judge="needed",
    groups=("category",),
    others=open_ended.others,
)
