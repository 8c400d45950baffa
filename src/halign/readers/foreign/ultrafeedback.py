"""UltraFeedback (arXiv 2310.01377): raw (openbmb/UltraFeedback) a ranking of completions, binarized
(HuggingFaceH4/ultrafeedback_binarized, and Argilla's cleaned one) a pair of conversations.

Raw, a completion's score is its ``overall_score`` (1 to 10); where it has none, nobody placed it. Beside its text stand the
ratings of the four aspects as attributes (``fine-grained_score``, their mean, too) and the critique as feedback; a rating of
"N/A" is left out. ``model`` becomes ``source``; the system prompts and principles that completions were sampled with are not
kept.

Binarized, ``score_chosen`` and ``score_rejected`` (``chosen_rating``, ``rejected_rating`` at Argilla's) stand beside the
replies as their scores; equal scores stay a plain preference, as published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, is_list, rating, text, user

SCORES = (("score_chosen", "score_rejected"), ("chosen_rating", "rejected_rating"))


def _sees(row: Row) -> str:
    completions = row["completions"]
    if not is_list(completions) or not {"response", "annotations"} <= completions[0].keys():
        return ""
    return "'completions' is a list of {'response', 'annotations', 'overall_score', ...}"


def _row(row: Row) -> dict[str, Any]:
    completions = row["completions"]
    if not is_list(completions):
        raise DataError("expected a list of completions", field="completions")
    replies = [_reply(c, f"completions[{i}]") for i, c in enumerate(completions)]
    return {"prompt": user(text(row, "instruction")), "responses": replies}


def _reply(completion: Row, field: str) -> dict[str, Any]:
    """One completion as a response with its score and notes."""
    score = completion.get("overall_score")
    made: dict[str, Any] = {
        "content": text(completion, "response", f"{field}.response"),
        "score": None if score is None else _number(score, f"{field}.overall_score"),
    }
    annotations = completion.get("annotations") or {}
    if not isinstance(annotations, Mapping):
        raise DataError(
            f"expected an object, found {fields.named(annotations)}", field=f"{field}.annotations"
        )
    found = {name: _rating(a) for name, a in annotations.items()}
    found["fine-grained_score"] = rating(completion.get("fine-grained_score"))
    if attributes := {k: v for k, v in found.items() if v is not None and math.isfinite(v)}:
        made["attributes"] = attributes
    if isinstance(completion.get("critique"), str) and completion["critique"].strip():
        made["feedback"] = completion["critique"]
    if completion.get("model"):
        made["source"] = completion["model"]
    return made


def _number(score: Any, field: str) -> float:
    """The score, which some copies write out."""
    found = rating(score)
    return fields.number(score if found is None else found, field)


def _rating(annotation: Any) -> float | None:
    """The rating of one aspect: ``{"Rating": "4", ...}``, in older files the first of a list of such."""
    if is_list(annotation):
        annotation = annotation[0]
    return rating(annotation.get("Rating")) if isinstance(annotation, Mapping) else None


def _sees_pair(row: Row) -> str:
    if "score_chosen" not in row and "chosen_rating" not in row:  # said of every row of every file of pairs
        return ""
    names = _scores(row)
    if names is None or not is_list(row["chosen"]) or not is_list(row["rejected"]):
        return ""
    return f"'chosen' and 'rejected' are lists of messages, scored by {names[0]!r} and {names[1]!r}"


def _scores(row: Row) -> tuple[str, str] | None:
    """The columns of the two scores."""
    return next((names for names in SCORES if set(names) <= row.keys()), None)


def _pair(row: Row) -> dict[str, Any]:
    names = _scores(row)
    if names is None:
        raise DataError("the scores of the replies are missing", field=SCORES[0][0])
    made: dict[str, Any] = {}
    for side, name in zip(("chosen", "rejected"), names, strict=True):
        turns = row[side]
        if not is_list(turns):
            raise DataError("expected a list of messages", field=side)
        made[side] = [*turns[:-1], {**turns[-1], "score": fields.number(row[name], name)}]
    return {**made, "id": row["prompt_id"]} if "prompt_id" in row else made


FORMATS = (
    Foreign(
        name="ultrafeedback",
        title="UltraFeedback",
        needs=("instruction", "completions"),
        reads_as="rankings",
        sees=_sees,
        row=_row,
        takes=("models",),
        renamed=(
            (r"^responses(\[\d+\]).*content$", r"completions\1.response"),
            (r"^responses", "completions"),
        ),
        lists=("completions", "models", "correct_answers", "incorrect_answers"),
    ),
    Foreign(
        name="ultrafeedback_binarized",
        title="UltraFeedback, binarized",
        needs=("prompt", "chosen", "rejected"),
        reads_as="pairs",
        sees=_sees_pair,
        row=_pair,
        takes=("prompt_id", "messages", *(name for names in SCORES for name in names)),
        over=("pairs", "messages", "ultrachat_200k"),
        numbers=tuple(name for names in SCORES for name in names),
    ),
)
