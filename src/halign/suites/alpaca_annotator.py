"""AlpacaEval 2's way of asking a judge (``weighted_alpaca_eval_gpt4_turbo``), in words of our own.

What is theirs: the judge sees an instruction and two outputs in no order, each under a short name, and answers with the name of
the better one and nothing else. The preference is the probability of the model's name over that of both names, read where the
answer's first token is; there is no tie. The win rate is the mean preference.

What differs: the names are 1 and 2 instead of m and M, so that a judge's numbered answers are read as everywhere here
(``judges/numbers.py``: an endpoint that gives no log-probabilities answers in words, 0 or 1); and both orders are asked and their
mean taken, where AlpacaEval draws one order for each instruction. The mean over its draws is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halign.judges import Verdict
from halign.judges.numbers import Question
from halign.judges.questions import number_in
from halign.judges.records import GradeRecord, PairRecord, Record, Trouble
from halign.llm import Failure
from halign.suites.contract import Answered, Bench, one_turn
from halign.suites.judging import ask, judge_name

PREFERENCE = "preference"
"""Dimension of the preferences in [0, 1], whose mean is AlpacaEval's win rate."""
ASKED = (
    "Two language models were given the instruction below. Choose the output that people would prefer, by how good it is and how "
    "well it does what is asked. Such choices are counted up to a ranking of models, which is to agree with people's own. The "
    "outputs stand in no particular order.\n\n## Instruction\n\n{instruction}\n\n## Output of model 1\n\n{first}\n\n"
    "## Output of model 2\n\n{second}\n\n## The better model"
)
CHOICES = {1: "model 1's output is the better one", 2: "model 2's output is the better one"}
_NUMBER = "\n\nAnswer with one number and nothing else:\n"
Chance = float | Failure | None
"""P(the first output is better); None: the answer names no one number."""


def score(pairs: Sequence[tuple[Answered, tuple[str, str]]], bench: Bench) -> list[Record]:
    """Each first reply against (name, reply) of the baseline: the verdicts of both orders, and the mean preference."""
    asked = [(a.question.prompt.messages[-1].content, a.draws[0][0], reply) for a, (_, reply) in pairs]
    shown = [_question(i, *texts) for i, texts in enumerate(asked)]
    shown += [_question(i, text, theirs, ours) for i, (text, ours, theirs) in enumerate(asked)]
    chances = _chances(bench, shown)
    found: list[Record] = []
    for i, (a, (name, _)) in enumerate(pairs):
        own = {"judge": judge_name(bench), **a.place()}
        found += _records(chances[i], chances[len(pairs) + i], bench.model, name, own)
    return found


def _question(place: int, instruction: str, first: str, second: str) -> Question:
    said = ASKED.format(instruction=instruction, first=first, second=second)
    return Question(said, CHOICES, name=f"instruction {place}")


def _chances(bench: Bench, questions: Sequence[Question]) -> list[Chance]:
    """From the judge's probabilities where it has some, else from its words."""
    numbers = getattr(bench.judge, "numbers", None)
    if numbers is not None:
        answers = numbers.ask(questions)
        return [a if isinstance(a, Failure) else a.shares.get(1, 0.0) for a in answers]
    words = ask(bench, [one_turn(q.words(_NUMBER)) for q in questions], max_tokens=16)
    named = [w if isinstance(w, Failure) else number_in(w, range(1, 3)) for w in words]
    return [n if isinstance(n, Failure) or n is None else float(n == 1) for n in named]


def _records(first: Chance, second: Chance, model: str, baseline: str, own: dict[str, Any]) -> list[Record]:
    """
    Args:
        first: with the model shown first; ``second``: with the baseline shown first.
    """
    trouble: Trouble | None = None
    if not (isinstance(first, float) and isinstance(second, float)):
        missing = any(isinstance(c, Failure) and not c.answered for c in (first, second))
        trouble = "failed" if missing else "unparsable"
    orders = [c if isinstance(c, float) else None for c in (first, second)]
    ours = [orders[0], None if orders[1] is None else 1 - orders[1]]
    why = tuple(_why(c) for c in (first, second))
    sides = [None if p is None else _verdict(p) for p in ours]
    known = [p for p in ours if p is not None]
    value = sum(known) / 2 if len(known) == 2 else None
    return [
        PairRecord(
            dimension="quality",
            a=model,
            b=baseline,
            first=sides[0],
            second=sides[1],
            why=why,
            trouble=trouble,
            **own,
        ),
        GradeRecord(dimension=PREFERENCE, model=model, value=value, why=why, trouble=trouble, **own),
    ]


def _verdict(p: float) -> Verdict:
    return Verdict.BOTH if p == 0.5 else Verdict.A if p > 0.5 else Verdict.B


def _why(chance: Chance) -> str:
    if isinstance(chance, Failure):
        return chance.problem
    return "it names no one output" if chance is None else f"the first output: {chance:.4f}"
