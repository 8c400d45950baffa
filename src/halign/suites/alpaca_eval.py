"""AlpacaEval's 805 instructions (Li et al. 2023, github.com/tatsu-lab/alpaca_eval): win rate against a baseline's outputs.

The replies are written as ``outputs.json`` in AlpacaEval's own form, so that its tool and its judges read them, and stored
outputs in that form can be evaluated in place of a model. The judge here is asked in FastChat's words (``open_ended.py``), in
both orders; AlpacaEval's own asks a weighted single order, so the two numbers are not to be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from halign.errors import HalignError
from halign.suites import open_ended
from halign.suites.contract import Question, Suite, one_turn
from halign.suites.files import Files, SetFile
from halign.suites.open_ended import PROMPTS, OpenSettings


class AlpacaSettings(OpenSettings):
    """Settings of AlpacaEval."""

    max_new_tokens: int = Field(2048, ge=1, description="longest reply, in tokens")
    baseline: str = Field(
        "gpt4_1106_preview",
        description="whose outputs in the file replies are compared with, unless --baseline says others",
    )


def questions(files: Files, settings: AlpacaSettings) -> list[Question]:
    """One question a row: instruction, and the baselines' outputs (``references``) or one (``output``, ``generator``)."""
    return [
        Question(
            str(row.get("id", f"alpaca-eval-{i}")),
            one_turn(row["instruction"]),
            meta={"dataset": row.get("dataset")},
            baseline=_baseline(row, settings),
        )
        for i, row in enumerate(files.of_fields("questions", ("instruction",)))
    ]


def _baseline(row: Mapping[str, Any], settings: AlpacaSettings) -> tuple[str, str] | None:
    """(name, output)."""
    known = row.get("references") or {}
    if settings.baseline in known:
        return settings.baseline, known[settings.baseline]
    if "output" in row and "generator" in row:
        return row["generator"], row["output"]
    if not known:
        return None
    raise HalignError(
        f"alpaca_eval.baseline: {settings.baseline!r} is not in the file; there is {', '.join(known)}"
    )


SUITE = Suite(
    "alpaca_eval",
    "805 instructions: win rate against a baseline's outputs; writes outputs.json for AlpacaEval's own tool",
    {
        "questions": SetFile(
            ("nc_alpaca_eval.jsonl", "alpaca_eval.json"),
            "huggingface.co/datasets/tatsu-lab/alpaca_eval (CC BY-NC 4.0)",
        ),
        "prompts": PROMPTS,
    },
    AlpacaSettings,
    questions,
    open_ended.score,
    judge="needed",
    groups=("dataset",),
    others=open_ended.others,
)
