"""Arena-Hard v0.1: 500 hard prompts of users, compared with a baseline's outputs in both orders, with five verdicts.

Source: Li et al. 2024, arXiv 2406.11939, and ``lmarena/arena-hard-auto`` (``gen_judgment.py``, ``show_result.py``): the judge
writes an answer of its own first and ends in one of [[A>>B]] to [[B>>A]], the last label counts; first the baseline is shown as
A, then the model. The published score is the mean over all "battles", where a clear verdict (>>) stands for three of them and a
tie for a half. Their leaderboard compares with gpt-4-0314, whose outputs are wanted here as ``--baseline``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges import Verdict
from halign.judges.records import GradeRecord, PairRecord, Record
from halign.llm import Failure
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings, one_turn
from halign.suites.files import Files, SetFile
from halign.suites.judging import ask, judge_name
from halign.suites.open_ended import baseline_reply, paired

WEIGHT = 3
"""Battles that a clear verdict stands for."""
SCORE = "score"
SYSTEM = Path(__file__).with_name("arena_hard.txt").read_text(encoding="utf-8").rstrip("\n")
"""The judge's system prompt as published (Apache-2.0)."""
ASKED = (
    "<|User Prompt|>\n{question}\n\n<|The Start of Assistant A's Answer|>\n{a}\n<|The End of Assistant A's Answer|>\n\n"
    "<|The Start of Assistant B's Answer|>\n{b}\n<|The End of Assistant B's Answer|>"
)
_LABEL = re.compile(r"\[\[([AB<>=]+)\]\]|\[([AB<>=]+)\]")
_BETTER = {"A>B": 1.0, "A>>B": 1.0, "B<A": 1.0, "B<<A": 1.0, "A=B": 0.5, "B=A": 0.5}
_WORSE = ("B>A", "B>>A", "A<B", "A<<B")


class ArenaSettings(SuiteSettings):
    """Settings of Arena-Hard."""

    max_new_tokens: int = Field(4096, ge=1, description="longest reply, in tokens")


def questions(files: Files, settings: ArenaSettings) -> list[Question]:
    """One question a row: uid, cluster, prompt."""
    return [
        Question(str(row["uid"]), one_turn(row["prompt"]), meta={"topic": row["cluster"]})
        for row in files.of_fields("questions", ("uid", "cluster", "prompt"))
    ]


def label(judgment: str) -> str | None:
    """The last label in double brackets, else the last in single ones; None: none that is known.

    >>> label("[[A>B]] at first, but then [[B>>A]]"), label("[A=B]"), label("A is better")
    ('B>>A', 'A=B', None)
    """
    found = _LABEL.findall(judgment.upper())
    double = [d for d, _ in found if d]
    last = (double or [s for _, s in found if s] or [""])[-1]
    return last if last in _BETTER or last in _WORSE else None


def battles(named: str) -> list[float]:
    """What a label is worth to A: one battle, or three where it is clear.

    >>> battles("A>>B"), battles("B>A"), battles("A=B")
    ([1.0, 1.0, 1.0], [0.0], [0.5])
    """
    return [_BETTER.get(named, 0.0)] * (WEIGHT if ">>" in named or "<<" in named else 1)


def verdict(judgment: str) -> Verdict | None:
    """The label as a verdict; a tie is "both acceptable"."""
    named = label(judgment)
    if named is None:
        return None
    return {1.0: Verdict.A, 0.5: Verdict.BOTH, 0.0: Verdict.B}[battles(named)[0]]


def score(answered: Sequence[Answered], settings: ArenaSettings, bench: Bench) -> list[Record]:
    """A comparison for each question, and its battles for the published score."""
    against = [_baseline(a, bench) for a in answered]
    pairs = list(zip(answered, against, strict=True))
    forward = [_asked(a, a.draws[0][0], reply) for a, (_, reply) in pairs]
    backward = [_asked(a, reply, a.draws[0][0]) for a, (_, reply) in pairs]
    said = ask(bench, [*forward, *backward], max_tokens=4096)
    found: list[Record] = []
    for i, (a, (name, _)) in enumerate(pairs):
        first, second = said[i], said[len(pairs) + i]
        own = {"judge": judge_name(bench), **a.place()}
        compared: PairRecord = paired(
            first, second, verdict, dimension="quality", a=bench.model, b=name, **own
        )
        found.append(compared)
        if (
            compared.outcome is not None
            and not isinstance(first, Failure)
            and not isinstance(second, Failure)
        ):
            fought = [*battles(label(first) or ""), *(1 - b for b in battles(label(second) or ""))]
            found += [GradeRecord(dimension=SCORE, model=bench.model, value=b, **own) for b in fought]
    return found


def _asked(answered: Answered, a: str, b: str) -> Dialogue:
    said = ASKED.format(question=answered.question.prompt.messages[-1].content, a=a, b=b)
    return Dialogue.of([{"role": "system", "content": SYSTEM}, {"role": "user", "content": said}])


def _baseline(answered: Answered, bench: Bench) -> tuple[str, str]:
    found = baseline_reply(answered, bench)
    if found is None:
        raise HalignError(
            "arena_hard compares with a baseline: give its stored outputs with --baseline OUTPUTS.json"
        )
    return found


def _others(answered: Answered, settings: ArenaSettings, bench: Bench) -> dict[str, tuple[str, ...]]:
    name, reply = _baseline(answered, bench)
    return {name: (reply,)}


def _precheck(settings: ArenaSettings, bench: Bench) -> None:
    if bench.baseline is None:
        raise HalignError(
            "arena_hard compares with a baseline: give its stored outputs with --baseline OUTPUTS.json"
        )


SUITE = Suite(
    "arena_hard",
    "500 hard prompts: win rate against a baseline's outputs, and the published score (clear verdicts count three times)",
    {
        "questions": SetFile(
            ("arena_hard_v0.1_questions.jsonl",),
            "github.com/lmarena/arena-hard-auto, data/arena-hard-v0.1/question.jsonl",
        )
    },
    ArenaSettings,
    questions,
    score,
    judge="needed",
    groups=(),
    precheck=_precheck,
    others=_others,
)
