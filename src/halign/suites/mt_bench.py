"""MT-Bench: 80 questions of two turns, rated from 1 to 10; the second turn is asked on the model's own first reply.

Source: Zheng et al. 2023, arXiv 2306.05685, and ``fastchat/llm_judge``: the temperature of a category's replies, reference
answers by GPT-4 for math, reasoning and coding (``NEED_REF_CATS``), the first turn judged alone and the second with both turns
shown. The score of a turn, of a category and of all is the mean rating. With ``against``, both models' replies are shown instead,
in both orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.judges.records import Record
from halign.readers.files import rows_of
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings, one_turn
from halign.suites.files import Files, SetFile
from halign.suites.judging import apart, ask, graded, judge_name, rating
from halign.suites.open_ended import (
    FASTCHAT,
    PROMPTS,
    SCALE,
    Exchange,
    pair_question,
    paired,
    single_question,
)

TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "stem": 0.1,
    "humanities": 0.1,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
}
REFERENCED = ("math", "reasoning", "coding")


class MTBenchSettings(SuiteSettings):
    """Settings of MT-Bench."""

    against: Path | None = Field(
        None,
        description="another model's answers to compare with (FastChat's model_answer, or replies.jsonl of an evaluation); "
        "unset: ratings",
    )


def questions(files: Files, settings: MTBenchSettings) -> list[Question]:
    """One question a row, its reference answers among its meta.

    Raises:
        DataError: a question of a referenced category has no reference answer.
    """
    references = {r["question_id"]: list(r["choices"][0]["turns"]) for r in files.rows("references")}
    found = []
    for row in files.of_fields("questions", ("question_id", "category", "turns")):
        category, key = row["category"], row["question_id"]
        if category in REFERENCED and key not in references:
            raise DataError(f"no answer to question {key} ({category})", file=str(files.path("references")))
        found.append(
            Question(
                f"mt_bench-{key}",
                one_turn(row["turns"][0]),
                tuple(row["turns"][1:]),
                meta={
                    "category": category,
                    "reference": references[key] if category in REFERENCED else None,
                },
                temperature=TEMPERATURES.get(category),
            )
        )
    return found


def score(answered: Sequence[Answered], settings: MTBenchSettings, bench: Bench) -> list[Record]:
    """A rating of every turn, or a comparison of every turn."""
    asked = [(a, d, t) for a in answered for d, draw in enumerate(a.draws) for t in range(len(draw))]
    own = [{"judge": judge_name(bench), **a.place(d, t)} for a, d, t in asked]
    shown = [(_exchange(a, t), a.draws[d][: t + 1]) for a, d, t in asked]
    if settings.against is None:
        said = ask(bench, [single_question(bench, e, replies) for e, replies in shown])
        return [
            graded(s, rating, SCALE, dimension="rating", model=bench.model, **place)
            for s, place in zip(said, own, strict=True)
        ]
    name, answers = read_answers(settings.against)
    apart(bench.model, name)
    theirs = [_turns(answers, a.question.id, t, settings.against) for a, _, t in asked]
    both: list[Dialogue] = [
        *(pair_question(bench, e, mine, yours) for (e, mine), yours in zip(shown, theirs, strict=True)),
        *(pair_question(bench, e, yours, mine) for (e, mine), yours in zip(shown, theirs, strict=True)),
    ]
    said = ask(bench, both)
    return [
        paired(said[i], said[len(asked) + i], dimension="quality", a=bench.model, b=name, **place)
        for i, place in enumerate(own)
    ]


def _exchange(answered: Answered, turn: int) -> Exchange:
    question = answered.question
    reference = question.meta["reference"]
    return Exchange(
        (question.prompt.messages[-1].content, *question.then)[: turn + 1],
        None if reference is None else tuple(reference[: turn + 1]),
    )


def read_answers(file: Path) -> tuple[str, dict[str, tuple[str, ...]]]:
    """(model's name, question -> its replies) of FastChat's answers, or of an evaluation's ``replies.jsonl``.

    Raises:
        HalignError: the file holds neither.
    """
    found: dict[str, tuple[str, ...]] = {}
    name = file.resolve().parents[1].name if file.name == "replies.jsonl" else file.stem
    for number, row in rows_of(file).rows:
        try:
            if "choices" in row:
                key, turns = f"mt_bench-{row['question_id']}", row["choices"][0]["turns"]
                name = row.get("model_id", name)
            else:
                key, turns = row["id"], row["draws"][0]
        except (KeyError, TypeError, IndexError):
            raise DataError(
                "expected question_id and choices, or id and draws", file=str(file), line=number
            ) from None
        found[key] = tuple(turns)
    return name, found


def others(answered: Answered, settings: MTBenchSettings, bench: Bench) -> dict[str, tuple[str, ...]]:
    """The other model's replies, one a turn, where there is one."""
    if settings.against is None:
        return {}
    name, answers = read_answers(settings.against)
    return {name: answers[answered.question.id]}


def _turns(answers: Mapping[str, tuple[str, ...]], question: str, turn: int, file: Path) -> tuple[str, ...]:
    replies = answers.get(question, ())
    if len(replies) <= turn:
        raise HalignError(f"mt_bench.against: {file} has no reply to turn {turn + 1} of {question}")
    return replies[: turn + 1]


def _precheck(settings: MTBenchSettings, bench: Bench) -> None:
    if settings.against is not None:
        read_answers(settings.against)


SUITE = Suite(
    "mt_bench",
    "80 questions of two turns in eight categories: ratings from 1 to 10, reference-guided in math, reasoning, coding",
    {
        "questions": SetFile(("mt_bench_questions.jsonl",), f"{FASTCHAT}/mt_bench/question.jsonl"),
        "references": SetFile(
            ("mt_bench_reference_gpt4.jsonl",), f"{FASTCHAT}/mt_bench/reference_answer/gpt-4.jsonl"
        ),
        "prompts": PROMPTS,
    },
    MTBenchSettings,
    questions,
    score,
    judge="needed",
    groups=("category", "agent_turn"),
    precheck=_precheck,
    others=others,
)
