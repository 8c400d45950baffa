"""GSM8K: grade-school mathematics, exact match of the final number.

Source: Cobbe et al. 2021, arXiv 2110.14168. Examples before the question come from the training file, in its order. The final
number is read as lm-evaluation-harness reads it: strictly what follows "#### ", or flexibly the last number of the reply; commas,
dollar signs and a final full stop do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.judges.records import GradeRecord
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings
from halign.suites.files import Files, SetFile

SOURCE = "github.com/openai/grade-school-math, grade_school_math/data"
_STRICT = re.compile(r"#### (\-?[0-9\.\,]+)")
_NUMBER = re.compile(r"(-?[$0-9.,]{2,})|(-?[0-9]+)")
_CALCULATED = re.compile(r"<<[^>]*>>")


class GSM8KSettings(SuiteSettings):
    """Settings of GSM8K."""

    max_new_tokens: int = Field(512, ge=1, description="longest reply, in tokens")
    shots: int = Field(5, ge=0, description="examples from the training file before the question")
    form: Literal["chat", "text"] = Field(
        "chat",
        description="examples as earlier turns of a chat, or all as one plain text, which base models continue",
    )
    stop: tuple[str, ...] = Field(("Question:",), description="strings at which a reply ends")


ASK = "Think step by step. End with a line of the form: #### NUMBER"
"""What a chat without examples is told of the answer's form."""


def questions(files: Files, settings: GSM8KSettings) -> list[Question]:
    """One question a row: question, answer.

    Raises:
        DataError: an answer without a final number; HalignError: fewer examples than ``shots``.
    """
    shots = [
        (r["question"], spoken(r["answer"]))
        for r, _ in zip(files.rows("train"), range(settings.shots), strict=False)
    ]
    if len(shots) < settings.shots:
        raise HalignError(
            f"gsm8k.shots = {settings.shots}, and {files.path('train') or 'no training file'} has {len(shots)} examples; get "
            f"{SOURCE}/train.jsonl, or say shots=0"
        )
    found = []
    for i, row in enumerate(files.of_fields("questions", ("question", "answer"))):
        gold = strict(row["answer"])
        if gold is None:
            raise DataError("no '#### number'", file=str(files.path("questions")), line=i + 1, field="answer")
        found.append(
            Question(f"gsm8k-{i}", prompt(row["question"], shots, settings.form), meta={"reference": gold})
        )
    return found


def prompt(question: str, shots: Sequence[tuple[str, str]], form: str) -> Dialogue:
    """The question behind its examples."""
    if form == "text":
        before = "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in shots)
        return Dialogue.of(f"{before}Question: {question}\nAnswer:")
    turns = [
        m for q, a in shots for m in ({"role": "user", "content": q}, {"role": "assistant", "content": a})
    ]
    asked = question if shots else f"{question}\n\n{ASK}"
    return Dialogue.of([*turns, {"role": "user", "content": asked}])


def spoken(answer: str) -> str:
    """An answer without the calculator's annotations.

    >>> spoken("9 * 2 = $<<9*2=18>>18.")
    '9 * 2 = $18.'
    """
    return _CALCULATED.sub("", answer)


def strict(text: str) -> str | None:
    """The number behind the first "#### ".

    >>> strict("so 18.\\n#### 1,018"), strict("The answer is 18")
    ('1018', None)
    """
    found = _STRICT.search(text)
    return None if found is None else _plain(found[1])


def flexible(text: str) -> str | None:
    """The last number of a text.

    >>> flexible("He pays $5 and then $1,200."), flexible("none")
    ('1200', None)
    """
    found = _NUMBER.findall(text)
    return _plain(next(part for part in found[-1] if part)) if found else None


def _plain(number: str) -> str:
    return re.sub(r"\.$", "", re.sub(r"[,$]", "", number))


def score(answered: Sequence[Answered], settings: GSM8KSettings, bench: Bench) -> list[GradeRecord]:
    """For each draw whether it ends in the right number, read in both ways."""
    found = []
    for a in answered:
        for d, (reply, *_) in enumerate(a.draws):
            own: dict[str, Any] = {"judge": "exact match", "model": bench.model, **a.place(d)}
            for name, read in (("exact match, strict", strict), ("exact match, flexible", flexible)):
                right = read(reply) == a.question.meta["reference"]
                found.append(GradeRecord(dimension=name, value=float(right), acceptable=right, **own))
    return found


SUITE = Suite(
    "gsm8k",
    "1,319 problems of grade-school mathematics: exact match of the final number, after examples with reasoning",
    {
        "questions": SetFile(("gsm8k_test.jsonl", "test.jsonl"), f"{SOURCE}/test.jsonl"),
        "train": SetFile(
            ("gsm8k_train_2000.jsonl", "gsm8k_train.jsonl", "train.jsonl"), f"{SOURCE}/train.jsonl", True
        ),
    },
    GSM8KSettings,
    questions,
    score,
)
