"""Asking a judge about items, and writing down what it says: one record for every dimension, guardrail and pair of models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from halign.dialogue import Dialogue
from halign.judges.protocol import Ruling, both_rulings, marks_of, name_of
from halign.judges.records import HISTORIES, GradeRecord, JudgedItem, PairRecord, Record
from halign.judges.votes import MODELS
from halign.llm import Estimate

PairCase = tuple[JudgedItem, str, str]
"""An item and the two models whose replies to it are compared."""
GradeCase = tuple[JudgedItem, str]
"""An item and the model whose reply to it is graded."""
Case = PairCase | GradeCase


def pair_records(judge: Any, cases: Sequence[PairCase]) -> list[PairRecord]:
    """What a judge says of pairs, in both orders where it can see them.

    Raises:
        HalignError: as the judge's.
    """
    prompts = [_prompt(item, a, b) for item, a, b in cases]
    others = [
        _prompt(item, b, a) if HISTORIES in item.meta else p
        for (item, a, b), p in zip(cases, prompts, strict=True)
    ]
    said_a, said_b = [i.replies[a] for i, a, _ in cases], [i.replies[b] for i, _, b in cases]
    apart = others if any(HISTORIES in i.meta for i, _, _ in cases) else None
    found = both_rulings(judge, prompts, said_a, said_b, apart)
    return [
        _pair(judge, item, a, b, first, second)
        for (item, a, b), one in zip(cases, found, strict=True)
        for first, second in one.values()
    ]


def grade_records(judge: Any, cases: Sequence[GradeCase]) -> list[GradeRecord]:
    """What a judge says of single replies.

    Raises:
        HalignError: as the judge's.
    """
    prompts = [_prompt(item, model) for item, model in cases]
    found = marks_of(judge, prompts, [item.replies[model] for item, model in cases])
    return [
        GradeRecord(
            item.item,
            item.conversation,
            m.dimension,
            name_of(judge),
            model,
            m.value,
            m.scale,
            m.acceptable,
            m.guardrail,
            item.turn,
            (m.why,) if m.why else (),
            m.trouble,
        )
        for (item, model), marks in zip(cases, found, strict=True)
        for m in marks
    ]


def records_of(judge: Any, cases: Iterable[Case]) -> list[Record]:
    """What a judge says of cases of both kinds; the records of one case stand together, in the order of the cases."""
    given = list(cases)
    pairs = [c for c in given if len(c) == 3]
    grades = [c for c in given if len(c) == 2]
    found: dict[tuple[str, ...], list[Record]] = {}
    for record in [
        *(pair_records(judge, pairs) if pairs else ()),
        *(grade_records(judge, grades) if grades else ()),
    ]:
        found.setdefault(key_of(record), []).append(record)
    return [r for item, *models in given for r in found.get((name_of(judge), item.item, *models), [])]


def key_of(record: Record) -> tuple[str, ...]:
    """Which case a record belongs to, and whose it is: the judge, the item, the models."""
    models = (record.a, record.b) if isinstance(record, PairRecord) else (record.model,)
    return (record.judge, record.item, *models)


def _prompt(item: JudgedItem, *models: str) -> Dialogue:
    """What the first of the models answers, with the names of all in its ``meta``."""
    prompt = item.answered_by(models[0])
    return replace(prompt, meta={**prompt.meta, MODELS: models})


def _pair(judge: Any, item: JudgedItem, a: str, b: str, first: Ruling, second: Ruling) -> PairRecord:
    alike = first is second
    why = (first.why,) if alike else (first.why, second.why)
    return PairRecord(
        item.item,
        item.conversation,
        first.dimension,
        name_of(judge),
        a,
        b,
        first.verdict,
        second.verdict,
        first.guardrail,
        item.turn,
        why if any(why) else (),
        first.trouble or second.trouble,
    )


def planned(judge: Any, cases: Iterable[Case]) -> Estimate | None:
    """What judging these cases would call for, nothing being sent; None of a judge that asks no endpoint."""
    if not hasattr(judge, "planned"):
        return None
    pairs, replies = [], []
    for item, *models in cases:
        prompts = [item.answered_by(m) for m in models]
        said = [item.replies[m] for m in models]
        if len(models) == 2:
            pairs.append((prompts[0], said[0], said[1], prompts[1] if HISTORIES in item.meta else None))
        else:
            replies.append((prompts[0], said[0]))
    found: Estimate | None = judge.planned(pairs, replies)
    return found
