"""A language model as a judge: pairs in the four bins, grades, and guardrails one by one, as rubrics ask for them.

An answer is a distribution over numbers. A verdict is the likeliest answer; a grade is the mean of the grades under their
probabilities (RLAIF's direct variant, arXiv 2309.00267), and acceptable if the grades that the rubric calls so have at least
half of the probability. A judge that finds "it cannot be told" the likeliest answer abstains; so does one whose draws are
evenly divided.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue
from halign.judges.guardrail_questions import GuardrailMarks
from halign.judges.numbers import Answered, Numbers, Question
from halign.judges.protocol import Mark, PlainVerdicts, Prompts, Replies, Ruling, Trouble
from halign.judges.rubric import PAIR_ANSWERS, Rubric, load_rubrics
from halign.llm import Estimate, Failure

EVEN = 1e-9
"""Probabilities that differ by less are the same."""


class LanguageModelJudge(PlainVerdicts):
    """Asks a language model what rubrics say.

    Args:
        numbers: who answers (``EndpointNumbers``, ``LocalNumbers``).
        rubrics: names, files, or rubrics; one dimension each.
        name: what records call the judge; None: the model's name.
    """

    sees_order = True

    def __init__(
        self, numbers: Numbers, rubrics: Iterable[str | Path | Rubric], *, name: str | None = None
    ) -> None:
        self.numbers, self.rubrics = numbers, load_rubrics(rubrics)
        self.name = name or numbers.name
        self.dimensions = tuple(r.name for r in self.rubrics)
        self.client = getattr(numbers, "client", None)

    @property
    def settings(self) -> dict[str, Any]:
        """Who is asked and what, for judging.json."""
        return {**self.numbers.settings, "rubrics": [r.model_dump(mode="json") for r in self.rubrics]}

    def rulings(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[list[Ruling]]:
        """One ruling a rubric for each pair, in the order shown.

        Raises:
            HalignError: as ``Client.ask``; a rubric lacks a reference answer that it requires.
        """
        answers = self.numbers.ask(self.pair_questions(prompts, a, b, others))
        each = iter(answers)
        return [[_ruling(rubric, next(each)) for rubric in self.rubrics] for _ in prompts]

    def marks(self, prompts: Prompts, replies: Replies) -> list[list[Mark]]:
        """One mark a rubric for each reply; where the rubric says so, also one for each guardrail that applies.

        Raises:
            HalignError: as ``rulings``.
        """
        whole, by_rule = self._graded(prompts)
        answers = self.numbers.ask(self._grade_questions(whole, prompts, replies))
        found: list[list[Mark]] = [[] for _ in prompts]
        for (i, rubric), answer in zip(whole, answers, strict=True):
            found[i].append(_mark(rubric, answer))
        rules = GuardrailMarks(self.numbers)
        for rubric in self.rubrics:
            places = [i for i, r in by_rule if r is rubric]
            marks = rules.marks(rubric.name, [prompts[i] for i in places], [replies[i] for i in places])
            for i, some in zip(places, marks, strict=True):
                found[i] += some
        return found

    def planned(
        self,
        pairs: Sequence[tuple[Dialogue, str, str, Dialogue | None]] = (),
        replies: Sequence[tuple[Dialogue, str]] = (),
    ) -> Estimate | None:
        """What judging these would call for, both orders included; nothing is sent. Of guardrails, all are taken to apply where
        no tag says otherwise. None where nothing is sent anywhere.
        """
        asked = []
        for prompt, x, y, other in pairs:
            asked += self.pair_questions([prompt], [x], [y], [other] if other else None)
            asked += self.pair_questions([other or prompt], [y], [x], [prompt] if other else None)
        prompts, said = [p for p, _ in replies], [r for _, r in replies]
        whole, by_rule = self._graded(prompts)
        asked += self._grade_questions(whole, prompts, said)
        rules = GuardrailMarks(self.numbers)
        asked += [q for i, _ in by_rule for q in rules.questions(prompts[i], said[i])]
        return self.numbers.dry_run(asked)

    def pair_questions(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[Question]:
        """For each pair, one question a rubric."""
        second = others or prompts
        return [
            Question(r.pair_question(p, x, y, None if o is p else o), r.pair_answers(), f"pair {i}, {r.name}")
            for i, (p, x, y, o) in enumerate(zip(prompts, a, b, second, strict=True))
            for r in self.rubrics
        ]

    def _graded(self, prompts: Prompts) -> tuple[list[tuple[int, Rubric]], list[tuple[int, Rubric]]]:
        """(place, rubric) of what is asked as a whole, and of what is asked guardrail by guardrail."""
        whole: list[tuple[int, Rubric]] = []
        by_rule: list[tuple[int, Rubric]] = []
        for i, prompt in enumerate(prompts):
            for rubric in self.rubrics:
                (by_rule if rubric.each_guardrail and prompt.guardrails else whole).append((i, rubric))
        return whole, by_rule

    def _grade_questions(
        self, places: Sequence[tuple[int, Rubric]], prompts: Prompts, replies: Replies
    ) -> list[Question]:
        return [
            Question(r.grade_question(prompts[i], replies[i]), r.grades(), f"reply {i}, {r.name}")
            for i, r in places
        ]


def trouble_of(failure: Failure) -> Trouble:
    """Whether an answer came that could not be read, or none came."""
    return "unparsable" if failure.answered else "failed"


def likeliest(answer: Answered) -> int | None:
    """The number with the highest probability; None where two have the same."""
    best = max(answer.shares.values())
    first = [k for k, p in answer.shares.items() if p > best - EVEN]
    return first[0] if len(first) == 1 else None


def _ruling(rubric: Rubric, answer: Answered | Failure) -> Ruling:
    if isinstance(answer, Failure):
        return Ruling(rubric.name, None, why=answer.problem, trouble=trouble_of(answer))
    found = PAIR_ANSWERS.get(likeliest(answer) or 0)
    if found is None:
        return Ruling(rubric.name, None, why=answer.why, trouble="abstained")
    return Ruling(rubric.name, found[1], why=answer.why)


def _mark(rubric: Rubric, answer: Answered | Failure) -> Mark:
    if isinstance(answer, Failure):
        return Mark(rubric.name, None, rubric.ends, why=answer.problem, trouble=trouble_of(answer))
    grades = {k: p for k, p in answer.shares.items() if k != rubric.untold}
    told = sum(grades.values())
    if answer.shares.get(-1 if rubric.untold is None else rubric.untold, 0.0) >= max(
        grades.values(), default=0.0
    ):
        return Mark(rubric.name, None, rubric.ends, why=answer.why, trouble="abstained")
    value = sum(k * p for k, p in grades.items()) / told
    fine = sum(p for k, p in grades.items() if k in rubric.acceptable_grades) / told
    acceptable = fine >= 0.5 if rubric.acceptable_grades else None
    return Mark(rubric.name, value, rubric.ends, acceptable, why=answer.why)
