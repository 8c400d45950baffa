"""Votes of forums: SHP (stanfordnlp/SHP, Reddit and Stack Exchange), and Stack Exchange's answers, paired
(lvwerra/stack-exchange-paired) or all of a question (HuggingFaceH4/stack-exchange-preferences).

SHP: ``labels`` 1 says that ``human_ref_A`` is preferred, 0 ``human_ref_B``. Stack Exchange: ``response_j`` is preferred to
``response_k``; ``pm_score`` scores an answer. A post is a conversation, so that its pairs stay together.
"""

from __future__ import annotations

from typing import Any

from halign.errors import DataError
from halign.readers import fields
from halign.readers.foreign.contract import Foreign, Row, all_text, is_list, text, user


def _sees_shp(row: Row) -> str:
    if not all_text(row, "history", "human_ref_A", "human_ref_B"):
        return ""
    return "'history', 'human_ref_A' and 'human_ref_B' are texts, 'labels' says which is preferred"


def _shp(row: Row) -> dict[str, Any]:
    replies = text(row, "human_ref_A"), text(row, "human_ref_B")
    chosen, rejected = replies if fields.label(row["labels"], "labels") else replies[::-1]
    made = {"prompt": user(text(row, "history")), "chosen": chosen, "rejected": rejected}
    return {**made, "conversation": row["post_id"]} if row.get("post_id") else made


def _sees_paired(row: Row) -> str:
    if not all_text(row, "question", "response_j", "response_k"):
        return ""
    return "'question', 'response_j' and 'response_k' are texts"


def _paired(row: Row) -> dict[str, Any]:
    made = {
        "prompt": user(text(row, "question")),
        "chosen": text(row, "response_j"),
        "rejected": text(row, "response_k"),
    }
    return {**made, "conversation": str(row["qid"])} if "qid" in row else made


def _sees_answers(row: Row) -> str:
    answers = row["answers"]
    if not is_list(answers) or not {"text", "pm_score"} <= answers[0].keys():
        return ""
    return "'answers' is a list of {'text', 'pm_score', ...}"


def _answers(row: Row) -> dict[str, Any]:
    if not is_list(row["answers"]):
        raise DataError("expected a list of answers", field="answers")
    replies = [
        {"content": text(a, "text", f"answers[{i}].text"), "score": fields.required(a, "pm_score")}
        for i, a in enumerate(row["answers"])
    ]
    made = {"prompt": user(text(row, "question")), "responses": replies}
    return {**made, "conversation": str(row["qid"])} if "qid" in row else made


FORMATS = (
    Foreign(
        name="shp",
        title="SHP",
        needs=("history", "human_ref_A", "human_ref_B", "labels"),
        reads_as="pairs",
        sees=_sees_shp,
        row=_shp,
        takes=("post_id",),
        numbers=("labels", "score_A", "score_B", "score_ratio"),
    ),
    Foreign(
        name="stack_exchange_paired",
        title="Stack Exchange, paired",
        needs=("question", "response_j", "response_k"),
        reads_as="pairs",
        sees=_sees_paired,
        row=_paired,
        takes=("qid",),
        renamed=((r"^chosen", "response_j"), (r"^rejected", "response_k")),
        numbers=("qid",),
        lists=("metadata",),
    ),
    Foreign(
        name="stack_exchange",
        title="Stack Exchange preferences",
        needs=("question", "answers"),
        reads_as="rankings",
        sees=_sees_answers,
        row=_answers,
        takes=("qid",),
        renamed=((r"^responses(\[\d+\])\.score", r"answers\1.pm_score"), (r"^responses", "answers")),
        numbers=("qid",),
        lists=("answers", "metadata"),
    ),
)
