"""Multiple choice by log-probability: which of several continuations a model finds likeliest after their context.

The measures are those of lm-evaluation-harness: ``acc`` takes the likeliest choice, ``acc_norm`` the likeliest per character,
``acc_bytes`` per byte. ``acc_tokens``, per token, is ours: it does not depend on how a language is written, but on the tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from halign.errors import DataError
from halign.evaluate.intervals import Interval, share
from halign.harness.likelihoods import Progress, Reading, likelihoods
from halign.harness.text import TextEncoder
from halign.likelihood import Likelihood
from halign.models import Policy

FORM = 'expected {"context": text, "choices": [texts], "correct": place or places}'
MEASURES = ("acc", "acc_norm", "acc_bytes", "acc_tokens")


@dataclass(frozen=True, slots=True)
class Question:
    """A context and what may follow.

    Attributes:
        choices: texts, without the ``delimiter`` that stands between context and choice.
        correct: places of the choices that are right; at least one.
        conversation: what clusters the intervals; "" for a question on its own.
    """

    context: str
    choices: tuple[str, ...]
    correct: frozenset[int]
    conversation: str = ""
    delimiter: str = " "

    @property
    def requests(self) -> list[tuple[str, str]]:
        """(context, continuation), choice by choice."""
        return [(self.context, self.delimiter + choice) for choice in self.choices]

    @classmethod
    def of(cls, row: Mapping[str, Any], number: int = 0) -> Question:
        """A question from a row ``{"context", "choices": [...], "correct": place or places}``.

        Args:
            number: of the row, for the message.

        Raises:
            DataError: a field is missing, a choice is empty, or ``correct`` names none of the choices.
        """
        for name, kind in (("context", str), ("choices", list), ("correct", (int, list))):
            if not isinstance(row.get(name), kind):
                raise DataError(FORM, line=number, field=name)
        choices = tuple(row["choices"])
        places = row["correct"] if isinstance(row["correct"], list) else [row["correct"]]
        if len(choices) < 2 or not all(isinstance(c, str) and c for c in choices):
            raise DataError("expected at least two choices, none of them empty", line=number, field="choices")
        if not places or not all(isinstance(p, int) and 0 <= p < len(choices) for p in places):
            raise DataError(
                f"expected places from 0 to {len(choices) - 1}, got {row['correct']!r}",
                line=number,
                field="correct",
            )
        more = {k: row[k] for k in ("conversation", "delimiter") if k in row}
        return cls(row["context"], choices, frozenset(places), **more)


@dataclass(frozen=True, slots=True)
class Answered:
    """A question and how likely each of its choices is."""

    question: Question
    choices: tuple[Likelihood, ...]

    def picked(self, measure: str) -> int:
        """Place of the choice that a measure takes; the first of equals."""
        logps = np.array([c.logp for c in self.choices])
        sizes = {
            "acc": lambda: 1.0,
            "acc_norm": lambda: [len(c) for c in self.question.choices],
            "acc_bytes": lambda: [len(c.encode()) for c in self.question.choices],
            "acc_tokens": lambda: [c.tokens for c in self.choices],
        }
        return int(np.argmax(logps / np.asarray(sizes[measure](), dtype=float)))

    def right(self, measure: str) -> bool:
        """Whether that choice is correct."""
        return self.picked(measure) in self.question.correct


@dataclass(frozen=True)
class MultipleChoice:
    """What came of some questions."""

    answered: tuple[Answered, ...]

    def accuracy(self, measure: str = "acc") -> Interval:
        """Share of the questions answered rightly by a measure (``MEASURES``), with its 95 % interval."""
        clusters = [a.question.conversation or i for i, a in enumerate(self.answered)]
        return share([a.right(measure) for a in self.answered], clusters)

    def table(self) -> dict[str, Interval]:
        """Every measure."""
        return {measure: self.accuracy(measure) for measure in MEASURES}


def multiple_choice(
    policy: Policy,
    rows: Iterable[Question | Mapping[str, Any]],
    *,
    encoder: TextEncoder | None = None,
    reading: Reading | None = None,
    progress: Progress = lambda done, total: None,
) -> MultipleChoice:
    """Let a model answer questions by the log-probabilities of their choices.

    Args:
        rows: questions, or rows as ``Question.of`` takes them.

    Raises:
        DataError: a row that is no question.
        HalignError: a choice that cannot be scored.
    """
    questions = [r if isinstance(r, Question) else Question.of(r, n) for n, r in enumerate(rows, 1)]
    asked = [request for question in questions for request in question.requests]
    found = iter(likelihoods(policy, asked, encoder=encoder, reading=reading, progress=progress))
    return MultipleChoice(tuple(Answered(q, tuple(next(found) for _ in q.choices)) for q in questions))
