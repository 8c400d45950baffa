"""AlpacaEval's 805 instructions (Li et al. 2023, github.com/tatsu-lab/alpaca_eval): raw and length-controlled win rate against a
baseline's outputs.

The judge is asked as AlpacaEval 2 asks it (``alpaca_annotator.py``), or in FastChat's words (``open_ended.py``). The replies are
written as ``outputs.json`` in AlpacaEval's own form, so that its tool and its judges read them, and stored outputs in that form
can be evaluated in place of a model.

The length-controlled win rate (``evaluate/length_control.py``) is of the plain model, or with ``difficulty`` of the one with
instruction difficulty. The leaderboard's full model needs verdicts on the baseline's own verbose and concise outputs as well:
``halign rate --length`` takes them from a folder of verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from halign.errors import HalignError
from halign.evaluate import Interval, length_controlled
from halign.evaluate.controls import read_difficulty
from halign.evaluate.length_control import THEIR_NAMES
from halign.judges.records import GradeRecord, Judged, PairRecord, Record
from halign.suites import alpaca_annotator, open_ended
from halign.suites.alpaca_annotator import PREFERENCE
from halign.suites.contract import Answered, Bench, Question, Suite, one_turn
from halign.suites.files import Files, SetFile
from halign.suites.open_ended import PROMPTS, OpenSettings


class AlpacaSettings(OpenSettings):
    """Settings of AlpacaEval."""

    max_new_tokens: int = Field(2048, ge=1, description="longest reply, in tokens")
    baseline: str = Field(
        "gpt4_1106_preview",
        description="whose outputs in the file replies are compared with, unless --baseline says others",
    )
    annotator: Literal["alpaca_eval", "fastchat"] = Field(
        "alpaca_eval",
        description="how the judge is asked: for the better output's probability, or in FastChat's published words",
    )
    difficulty: Path | None = Field(
        None,
        description='file of each question\'s difficulty, JSONL {"item", "difficulty"}, for the length-controlled win rate',
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


def score(answered: Sequence[Answered], settings: AlpacaSettings, bench: Bench) -> list[Record]:
    """Comparisons with the baseline; ratings in FastChat's words of what has none."""
    alone, pairs = open_ended.paired_up(answered, settings, bench)
    rated: list[Record] = [*open_ended.rate(alone, bench)] if alone else []
    compare = open_ended.compare if settings.annotator == "fastchat" else alpaca_annotator.score
    return [*rated, *compare(pairs, bench)]


def totals(
    answered: Sequence[Answered], judged: Judged, settings: AlpacaSettings, bench: Bench
) -> dict[str, Interval]:
    """The length-controlled win rate, named for its model; none where nothing was compared, or lengths say nothing."""
    pairs = [r for r in judged.records if isinstance(r, PairRecord) and r.outcome is not None]
    if not pairs:
        return {}
    difficulty = _difficulty(settings.difficulty, {a.item(): a.question.id for a in answered})
    liked = {
        r.item: r.value for r in judged.records if isinstance(r, GradeRecord) and r.dimension == PREFERENCE
    }
    replies = [judged.items[r.item].replies for r in pairs]
    try:
        found = length_controlled(
            [_preference(liked.get(r.item), r) for r in pairs],
            [len(said[r.a]) for said, r in zip(replies, pairs, strict=True)],
            [len(said[r.b]) for said, r in zip(replies, pairs, strict=True)],
            [r.conversation for r in pairs],
            difficulty=[difficulty[r.item] for r in pairs] if difficulty is not None else None,
        )
    except HalignError as error:
        bench.remark(f"no length-controlled win rate: {error}")
        return {}
    name = f"length-controlled win rate ({found.model}, AlpacaEval's {THEIR_NAMES[found.model]})"
    return {f"{name} against {pairs[0].b}": found.controlled}


def _difficulty(file: Path | None, questions: Mapping[str, str]) -> dict[str, float] | None:
    """Item -> g_x.

    Args:
        questions: item -> id of its question.

    Raises:
        HalignError: the file lacks one; or as ``read_difficulty``.
    """
    if file is None:
        return None
    found = read_difficulty(file)
    lost = [q for q in questions.values() if q not in found]
    if lost:
        raise HalignError(f"alpaca_eval.difficulty: {file} has none for {lost[0]}")
    return {item: found[q] for item, q in questions.items()}


def _preference(liked: float | None, record: PairRecord) -> float:
    """As it was asked for, else what the verdicts of both orders are worth."""
    if liked is not None:
        return liked
    return (1 + record.outcome.advantage) / 2 if record.outcome is not None else 0.5


def _precheck(settings: AlpacaSettings, bench: Bench) -> None:
    if settings.difficulty is not None:
        read_difficulty(settings.difficulty)


SUITE = Suite(
    "alpaca_eval",
    "805 instructions: win rate against a baseline, raw and length-controlled; writes outputs.json for AlpacaEval's tool",
    {
        "questions": SetFile(
            ("nc_alpaca_eval.jsonl", "alpaca_eval.json"),
            "huggingface.co/datasets/tatsu-lab/alpaca_eval (CC BY-NC 4.0)",
        ),
        "prompts": PROMPTS,
    },
    AlpacaSettings,
    questions,
    score,
    judge="needed",
    groups=("dataset",),
    totals=totals,
    precheck=_precheck,
    others=open_ended.others,
)
