"""Argilla's exports: records with fields, and what annotators answered to questions about them.

Three shapes: records of Argilla 2 (``{"fields", "responses", "suggestions"}``, ``records.to_json``), the same flattened
(``better.responses``, ``better.suggestion`` ...: ``to_datasets``, ``to_list(flatten=True)``), and version 1 (``better`` a list of
``{"user_id", "value", "status"}``, ``better-suggestion``).

Submitted answers count; drafts and discarded ones do not; where nobody submitted any, the suggestion does. A ranking question
makes a ranking (mean ranks), a question whose answers name reply fields a pair (``preference``: the share of votes) or, of three
replies or more, a ranking, ratings attributes of the only reply, or scores where every reply has a question (``rating-1``).
All answers are kept in ``meta["answers"]``. Text classification is no task of this library.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign import annotators
from halign.readers.foreign.contract import Foreign, Row, is_list

NOT_COUNTED = ("draft", "discarded", "pending")
KEPT = ("id", "external_id", "metadata", "status", "vectors", "_server_id")
"""Columns of flat exports that are neither field nor question."""


def _values(answers: Any) -> list[Any]:
    """The values that count of ``[{"value", "status"}, ...]``."""
    if not isinstance(answers, list | tuple):
        return []
    return [
        a["value"]
        for a in answers
        if isinstance(a, Mapping) and a.get("value") is not None and a.get("status") not in NOT_COUNTED
    ]


def _record(row: Row) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """(fields, question -> values) of a nested record."""
    given, said = row["fields"], row["responses"]
    for name, value in (("fields", given), ("responses", said)):
        if not isinstance(value, Mapping):
            raise DataError(f"expected an object, found {fields.named(value)}", field=name)
    suggested = row.get("suggestions") or {}
    answers = {q: _values(a) for q, a in said.items()}
    for question, suggestion in suggested.items():
        value = suggestion.get("value") if isinstance(suggestion, Mapping) else None
        if value is not None and not answers.get(question):
            answers[question] = [value]
    return dict(given), answers


def _flat(row: Row) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The same of a flattened record of version 2."""
    answers: dict[str, list[Any]] = {}
    for column, value in row.items():
        if column.endswith(".responses"):
            states = row.get(f"{column}.status") or [None] * len(value)
            counted = zip(value, states, strict=False)
            answers[column[:-10]] = [v for v, s in counted if v is not None and s not in NOT_COUNTED]
    for column, value in row.items():
        if column.endswith(".suggestion") and not answers.get(column[:-11]):
            answers[column[:-11]] = [value]
    given = {k: v for k, v in row.items() if k not in KEPT and k.split(".")[0] not in answers}
    return given, answers


def _first(row: Row) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """The same of a record of version 1."""
    answers = {k: _values(v) for k, v in row.items() if _is_answers(v)}
    for column, value in row.items():
        if column.endswith("-suggestion") and not answers.get(column[:-11]):
            answers[column[:-11]] = [value]
    beside = {f"{q}{end}" for q in answers for end in ("", "-suggestion", "-suggestion-metadata")}
    return {k: v for k, v in row.items() if k not in KEPT and k not in beside}, answers


def _is_answers(value: Any) -> bool:
    return is_list(value) and {"user_id", "value"} <= value[0].keys()


def _made(given: dict[str, Any], answers: dict[str, list[Any]]) -> dict[str, Any]:
    """The canonical row of fields and answers."""
    answers = {q: [_ranks(v) for v in values] for q, values in answers.items() if values}
    if not answers:
        raise DataError("nobody submitted an answer, and there is no suggestion; leave such records out")
    given = {k: v for k, v in given.items() if v is not None}
    replies = annotators.reply_fields(given)
    if not replies:
        raise DataError(
            f"cannot tell the replies among the fields {', '.join(given)}; call them response, or response1,"
            " response2 ..., or say which column is what with --columns"
        )
    name = annotators.prompt_field(given, replies)
    prompt = annotators.prompt_messages(given[name])
    rest = {k: v for k, v in given.items() if k != name and k not in replies}
    row = _judged(prompt, [given[n] for n in replies], list(replies.items()), answers)
    return {**row, "meta": {**rest, "answers": answers}}


def _judged(
    prompt: Any, replies: list[Any], marks: list[tuple[str, str]], answers: Mapping[str, list[Any]]
) -> dict[str, Any]:
    """What the answers say of the replies: an order, votes, or ratings."""
    names = [name for name, _ in marks]
    orders = {q: v for q, v in answers.items() if all(isinstance(a, Mapping) for a in v)}
    numbers = {q: v for q, v in answers.items() if all(isinstance(a, int | float) for a in v)}
    if len(names) == 1:
        if not numbers:
            raise DataError("one reply, and no rating of it: nothing to learn from")
        return annotators.rated(prompt, replies[0], numbers)
    if orders:
        question = _only(orders, "rank the replies")
        found = [{names.index(n): r for n, r in o.items() if n in names} for o in answers[question]]
        return annotators.by_ranks(prompt, replies, found)
    votes = {q: v for q, v in answers.items() if q not in numbers and all(isinstance(a, str) for a in v)}
    votes = {q: v for q, v in votes.items() if any(_names(a, marks) for a in v)}
    if votes:
        question = _only(votes, "choose a reply")
        return annotators.by_votes(
            prompt, replies, [annotators.vote(v, marks, question) for v in votes[question]]
        )
    scores = [next((v for q, v in numbers.items() if q.lower().endswith(mark)), None) for _, mark in marks]
    if any(s is None for s in scores):
        raise DataError(
            f"no answer ranks, chooses or rates the replies {', '.join(names)}; the questions are {', '.join(answers)}"
        )
    return annotators.by_scores(prompt, replies, [fmean(s) for s in scores if s is not None])


def _names(value: str, marks: Sequence[tuple[str, str]]) -> bool:
    return any(value.lower() in (name.lower(), mark) for name, mark in marks)


def _only(questions: Mapping[str, Any], what: str) -> str:
    if len(questions) > 1:
        raise DataError(
            f"several questions {what}: {' and '.join(questions)}; export one of them, or name columns"
        )
    return next(iter(questions))


def _ranks(value: Any) -> Any:
    """A ranking as name -> rank: ``[{"value", "rank"}, ...]``, or a list of names, best first; other values as they are."""
    if is_list(value) and all({"value", "rank"} <= v.keys() for v in value):
        return {v["value"]: v["rank"] for v in value if v["rank"] is not None}
    if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
        return {name: i for i, name in enumerate(value, 1)}
    return value


def _sees_record(row: Row) -> str:
    if not isinstance(row["fields"], Mapping) or not isinstance(row["responses"], Mapping):
        return ""
    return "'fields', 'responses' and 'suggestions' are objects"


def _sees_flat(row: Row) -> str:
    found = [c for c in row if c.endswith((".responses", ".suggestion"))]
    return f"{found[0]!r} holds answers to a question" if found else ""


def _sees_first(row: Row) -> str:
    found = [c for c, v in row.items() if _is_answers(v) and "status" in v[0]]
    return f"{found[0]!r} is a list of {{'user_id', 'value', 'status'}}" if found else ""


def _from_first(row: Row) -> dict[str, Any]:
    made = _made(*_first(row))
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = json.loads(metadata)
        except ValueError:
            metadata = {"metadata": metadata}
    if isinstance(metadata, Mapping):
        made["meta"] = {**metadata, **made["meta"]}
    return {**made, "id": row["external_id"]} if row.get("external_id") else made


FORMATS = (
    Foreign(
        name="argilla",
        title="Argilla 2",
        needs=("fields", "responses"),
        reads_as="",
        sees=_sees_record,
        row=lambda row: _made(*_record(row)),
        takes=("suggestions", "vectors", "_server_id"),
        over=("rankings",),
        lists=("fields", "suggestions"),
    ),
    Foreign(
        name="argilla_flat",
        title="Argilla 2, flattened",
        needs=(),
        reads_as="",
        sees=_sees_flat,
        row=lambda row: _made(*_flat(row)),
        takes=("*",),
        over=("pairs", "rankings", "singles", "completions"),
    ),
    Foreign(
        name="argilla_v1",
        title="Argilla 1",
        needs=(),
        reads_as="",
        sees=_sees_first,
        row=_from_first,
        takes=("*",),
        over=("pairs", "rankings", "singles", "completions"),
    ),
)
