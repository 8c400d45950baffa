"""Open-ended questions judged in FastChat's published words (``llm_judge``): a rating of one reply, or two replies compared.

Source: Zheng et al. 2023, arXiv 2306.05685; prompts and reading as ``fastchat/llm_judge`` has them: the judge answers at
temperature 0 with 2,048 tokens at most; a rating is [[7]] within 1 to 10; a verdict [[A]], [[B]] or [[C]] (a tie), asked in both
orders. A tie is kept as "both acceptable", which is worth a half in a win rate. An answer without a verdict is counted and left
out of the mean, where FastChat counts a rating of -1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges import Verdict
from halign.judges.records import GradeRecord, PairRecord, Record, Trouble
from halign.llm import Failure
from halign.suites.contract import Answered, Bench, SuiteSettings
from halign.suites.files import SetFile
from halign.suites.judging import apart, ask, graded, judge_name, rating

SCALE = (1.0, 10.0)
FASTCHAT = "github.com/lm-sys/FastChat, fastchat/llm_judge/data"
PROMPTS = SetFile(("mt_bench_judge_prompts.jsonl", "judge_prompts.jsonl"), f"{FASTCHAT}/judge_prompts.jsonl")
LABELS = {"[[A]]": Verdict.A, "[[B]]": Verdict.B, "[[C]]": Verdict.BOTH}


class OpenSettings(SuiteSettings):
    """Settings of open-ended sets."""

    mode: Literal["auto", "single", "pair"] = Field(
        "auto",
        description="rate each reply, or compare it with the baseline's; auto: pair where there is a baseline",
    )


@dataclass(frozen=True)
class Exchange:
    """What a judge reads: one or two questions, and the reference answers where there are some.

    Attributes:
        turns: the user's turns up to the one that is judged.
        reference: answers to them; None: none.
    """

    turns: tuple[str, ...]
    reference: tuple[str, ...] | None = None

    def fields(self) -> dict[str, str]:
        """The words of FastChat's templates."""
        found = {"question": self.turns[0]} if len(self.turns) == 1 else _numbered("question", self.turns)
        return {**found, **_numbered("ref_answer", self.reference or ())}


def _numbered(name: str, texts: Sequence[str]) -> dict[str, str]:
    return {f"{name}_{i}": text for i, text in enumerate(texts, 1)}


def template(bench: Bench, kind: Literal["single", "pair"], exchange: Exchange) -> Mapping[str, Any]:
    """The published prompt: with a reference or without, of one turn or of several.

    Raises:
        HalignError: the file of prompts lacks it.
    """
    base = {"single": "single-math-v1", "pair": "pair-math-v1"} if exchange.reference else {}
    name = base.get(kind, {"single": "single-v1", "pair": "pair-v2"}[kind])
    name += "-multi-turn" if len(exchange.turns) > 1 else ""
    for row in bench.files.rows("prompts"):
        if row.get("name") == name:
            return row
    raise HalignError(f"{bench.files.path('prompts')}: no judge prompt {name!r}")


def single_question(bench: Bench, exchange: Exchange, replies: Sequence[str]) -> Dialogue:
    """What the judge is asked about one model's replies, one a turn."""
    answers = {"answer": replies[0]} if len(replies) == 1 else _numbered("answer", replies)
    return _filled(template(bench, "single", exchange), {**exchange.fields(), **answers})


def pair_question(bench: Bench, exchange: Exchange, a: Sequence[str], b: Sequence[str]) -> Dialogue:
    """What the judge is asked about two models' replies, A shown first."""
    if len(a) == 1:
        answers = {"answer_a": a[0], "answer_b": b[0]}
    else:
        answers = {**_numbered("answer_a", a), **_numbered("answer_b", b)}
    return _filled(template(bench, "pair", exchange), {**exchange.fields(), **answers})


def _filled(published: Mapping[str, Any], words: Mapping[str, str]) -> Dialogue:
    said = published["prompt_template"].format(**words)
    messages = [{"role": "system", "content": published["system_prompt"]}, {"role": "user", "content": said}]
    return Dialogue.of(messages)


def verdict(judgment: str) -> Verdict | None:
    """The verdict that a judgment names; A before B before a tie where it names several, as FastChat reads it.

    >>> verdict("... [[C]]").value, verdict("[[B]] or [[A]]").value, verdict("A") is None
    ('both acceptable', 'A better', True)
    """
    return next((v for label, v in LABELS.items() if label in judgment), None)


def paired(first: str | Failure, second: str | Failure, read: Any = verdict, **fields: Any) -> PairRecord:
    """The record of one comparison from the judge's two answers; the second was given with B shown first."""
    answers = (first, second)
    found = [None if isinstance(a, Failure) else read(a) for a in answers]
    trouble: Trouble | None = None
    if None in found:
        trouble = "failed" if any(isinstance(a, Failure) for a in answers) else "unparsable"
    return PairRecord(
        first=found[0],
        second=found[1].swapped if found[1] is not None else None,
        why=tuple(a.problem if isinstance(a, Failure) else a for a in answers),
        trouble=trouble,
        **fields,
    )


def others(answered: Answered, settings: OpenSettings, bench: Bench) -> dict[str, tuple[str, ...]]:
    """The baseline's reply, where the set has one turn and there is a baseline."""
    found = baseline_reply(answered, bench)
    return {} if found is None or settings.mode == "single" else {found[0]: (found[1],)}


def baseline_reply(answered: Answered, bench: Bench) -> tuple[str, str] | None:
    """(name, reply) of the baseline: of ``--baseline``, else of the set's own file.

    Raises:
        HalignError: the baseline has no output for this question, or is called what the model is called.
    """
    asked = answered.question.prompt.messages[-1].content
    if bench.baseline is not None:
        name, outputs = bench.baseline
        apart(bench.model, name)
        if asked not in outputs:
            raise HalignError(f"baseline {name} has no output for {asked[:60]!r}")
        return name, outputs[asked]
    return answered.question.baseline


def score(answered: Sequence[Answered], settings: OpenSettings, bench: Bench) -> list[Record]:
    """Ratings or comparisons of first replies to questions of one turn."""
    alone, pairs = paired_up(answered, settings, bench)
    return [*rate(alone, bench), *compare(pairs, bench)]


Pairs = list[tuple[Answered, tuple[str, str]]]
"""Questions with the (name, reply) that they are compared with."""


def paired_up(
    answered: Sequence[Answered], settings: OpenSettings, bench: Bench
) -> tuple[list[Answered], Pairs]:
    """(those to be rated alone, those with the baseline's reply that they are compared with).

    Raises:
        HalignError: comparisons are asked for, and there is no baseline; or as ``baseline_reply``.
    """
    against = [None if settings.mode == "single" else baseline_reply(a, bench) for a in answered]
    if settings.mode == "pair" and None in against:
        raise HalignError(
            f"{bench.files.suite}: mode = pair compares with a baseline: give --baseline OUTPUTS.json"
        )
    pairs = [(a, b) for a, b in zip(answered, against, strict=True) if b is not None]
    return [a for a, b in zip(answered, against, strict=True) if b is None], pairs


def rate(answered: Sequence[Answered], bench: Bench) -> list[GradeRecord]:
    """A rating of each draw."""
    asked = [(a, d) for a in answered for d in range(len(a.draws))]
    said = ask(bench, [single_question(bench, Exchange((_asked(a),)), a.draws[d][:1]) for a, d in asked])
    return [
        graded(s, rating, SCALE, dimension="rating", judge=judge_name(bench), model=bench.model, **a.place(d))
        for s, (a, d) in zip(said, asked, strict=True)
    ]


def compare(pairs: Sequence[tuple[Answered, tuple[str, str]]], bench: Bench) -> list[PairRecord]:
    """Each first reply against the baseline's, in both orders."""
    forward = [pair_question(bench, Exchange((_asked(a),)), a.draws[0][:1], (b,)) for a, (_, b) in pairs]
    backward = [pair_question(bench, Exchange((_asked(a),)), (b,), a.draws[0][:1]) for a, (_, b) in pairs]
    said = ask(bench, [*forward, *backward])
    return [
        paired(
            said[i],
            said[len(pairs) + i],
            dimension="quality",
            judge=judge_name(bench),
            a=bench.model,
            b=name,
            **a.place(),
        )
        for i, (a, (name, _)) in enumerate(pairs)
    ]


def _asked(answered: Answered) -> str:
    return answered.question.prompt.messages[-1].content
