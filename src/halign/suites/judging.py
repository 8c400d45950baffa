"""How sets ask the judges of ``halign.judges``: in a set's own published words, read by the set's own rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.protocol import can_grade, name_of
from halign.judges.records import GradeRecord, Trouble
from halign.judges.words import answers_of, can_answer
from halign.llm import Failure
from halign.suites.contract import Bench, Suite

_RATING = (re.compile(r"\[\[(\d+\.?\d*)\]\]"), re.compile(r"\[(\d+\.?\d*)\]"))


def check_judge(suite: Suite, judge: Any) -> None:
    """See that a judge can do what a set asks of it.

    Raises:
        HalignError: none is named where one is needed; it cannot; or it was told to do what this set does not ask for.
    """
    if judge is None and suite.judge == "needed":
        raise HalignError(
            f"{suite.name} is scored by a judge: name one with --judge (llm:NAME@URL, local:FOLDER ...)"
        )
    if judge is None or suite.judge == "none":
        return
    name, numbers = name_of(judge), getattr(judge, "numbers", None)
    if suite.asks == "words":
        if not can_answer(judge):
            raise HalignError(
                f"{suite.name} asks in words, and judge {name} has none: take llm:NAME@URL, local:FOLDER, or your own"
            )
        if getattr(numbers, "explain", False) or getattr(numbers, "samples", 1) != 1:
            raise HalignError(
                f"{suite.name} asks once, in published words: leave --judge-explain and --judge-samples out"
            )
    elif numbers is None and not (suite.asks == "guardrails" and can_grade(judge)):
        raise HalignError(
            f"{suite.name} asks yes or no, and judge {name} does not answer: take llm:NAME@URL, local:FOLDER"
        )


def about_judge(judge: Any) -> dict[str, Any]:
    """Who is asked, for judging.json; rubrics are left out, since sets bring their own words."""
    of = getattr(judge, "numbers", judge)
    return {"name": name_of(judge), **getattr(of, "settings", {"kind": "own"})}


def judge_name(bench: Bench) -> str:
    """What records call the judge.

    Raises:
        HalignError: none was named.
    """
    if bench.judge is None:
        raise HalignError(f"{bench.files.suite} is scored by a judge: name one with --judge")
    return name_of(bench.judge)


def apart(model: str, other: str) -> None:
    """See that two models that are compared can be told apart.

    Raises:
        HalignError: they have one name.
    """
    if model == other:
        raise HalignError(
            f"{model} would be compared with a model of the same name: call it otherwise, --name NAME"
        )


def ask(bench: Bench, questions: Sequence[Dialogue], *, max_tokens: int = 2048) -> list[str | Failure]:
    """The judge's answers in words.

    Raises:
        HalignError: none was named; or as ``answers_of``.
    """
    judge_name(bench)
    return answers_of(bench.judge, questions, max_tokens=max_tokens)


def rating(judgment: str) -> float | None:
    """The rating that a judgment names, as FastChat's ``llm_judge`` reads it: the first [[7]], else the first [7]; None: none.

    >>> rating("Good. Rating: [[7.5]]"), rating("I say [7]"), rating("seven")
    (7.5, 7.0, None)
    """
    for pattern in _RATING:
        if found := pattern.search(judgment):
            return float(found[1])
    return None


def graded(
    answer: str | Failure, read: Callable[[str], float | None], scale: tuple[float, float], **fields: Any
) -> GradeRecord:
    """The record of one answer; a number outside the scale is as little a grade as none at all."""
    trouble: Trouble | None = None
    value = None
    if isinstance(answer, Failure):
        trouble, why = "failed", answer.problem
    else:
        why, value = answer, read(answer)
        if value is None or not scale[0] <= value <= scale[1]:
            value, trouble = None, "unparsable"
    return GradeRecord(value=value, scale=scale, why=(why,), trouble=trouble, **fields)
