"""IFEval: 541 prompts with 834 instructions that a program can check, by the checks of lm-evaluation-harness.

Source: Zhou et al. 2023, arXiv 2311.07911. Four accuracies: by prompt (all its instructions followed) and by instruction, strict
(the reply as it is) and loose (also without its first or last line, or its asterisks). The checks are ``lm_eval.tasks.ifeval``'s,
which is the published code with its corrections; the extra ``halign[eval]`` brings it. It needs nltk's sentence splitter:
``python -m nltk.downloader punkt_tab``. An instruction in a prompt is a rule, so results are also broken down by instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from halign.errors import HalignError
from halign.judges.records import GradeRecord
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings, one_turn
from halign.suites.files import Files, SetFile

WAYS = ("strict", "loose")


class IFEvalSettings(SuiteSettings):
    """Settings of IFEval."""

    max_new_tokens: int = Field(1280, ge=1, description="longest reply, in tokens")


def questions(files: Files, settings: IFEvalSettings) -> list[Question]:
    """One question a row: key, prompt, instruction_id_list, kwargs."""
    fields = ("key", "prompt", "instruction_id_list", "kwargs")
    return [
        Question(
            f"ifeval-{row['key']}",
            one_turn(row["prompt"]),
            meta={"instructions": row["instruction_id_list"], "arguments": row["kwargs"], "key": row["key"]},
        )
        for row in files.of_fields("questions", fields)
    ]


def checks() -> Any:
    """``lm_eval.tasks.ifeval.utils``.

    Raises:
        HalignError: the library, or the data it needs, is not there.
    """
    try:
        import nltk
    except ImportError:
        raise HalignError("ifeval needs lm-evaluation-harness and nltk: pip install 'halign[eval]'") from None
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        raise HalignError(
            "ifeval needs nltk's sentence splitter: python -m nltk.downloader punkt_tab (NLTK_DATA names its folder)"
        ) from None
    try:
        from lm_eval.tasks.ifeval import utils
    except ImportError as error:
        raise HalignError(
            f"ifeval needs the checks of lm-evaluation-harness ({error}): pip install 'halign[eval]'"
        ) from None
    return utils


def followed(meta: Any, prompt: str, reply: str) -> dict[str, list[bool]]:
    """Way (strict, loose) -> for each instruction of the prompt whether the reply follows it.

    An empty reply follows none.
    """
    utils = checks()
    asked = utils.InputExample(
        key=meta["key"], instruction_id_list=meta["instructions"], prompt=prompt, kwargs=meta["arguments"]
    )
    ways = {
        "strict": utils.test_instruction_following_strict,
        "loose": utils.test_instruction_following_loose,
    }
    return {way: list(check(asked, reply).follow_instruction_list) for way, check in ways.items()}


def score(answered: Sequence[Answered], settings: IFEvalSettings, bench: Bench) -> list[GradeRecord]:
    """For each draw and way: one verdict by prompt, one for each instruction."""
    found = []
    for a in answered:
        for d, (reply, *_) in enumerate(a.draws):
            asked = a.question.prompt.messages[-1].content
            for way, kept in followed(a.question.meta, asked, reply).items():
                own: dict[str, Any] = {"judge": "lm_eval", "model": bench.model, **a.place(d)}
                found.append(_verdict(f"by prompt, {way}", all(kept), own))
                found += [
                    _verdict(f"by instruction, {way}", k, {**own, "guardrail": name})
                    for name, k in zip(a.question.meta["instructions"], kept, strict=True)
                ]
    return found


def _verdict(dimension: str, kept: bool, own: dict[str, Any]) -> GradeRecord:
    return GradeRecord(dimension=dimension, value=float(kept), acceptable=kept, **own)


SUITE = Suite(
    "ifeval",
    "541 prompts with 834 instructions that a program checks: accuracy by prompt and by instruction, strict and loose",
    {
        "questions": SetFile(
            ("ifeval.jsonl", "input_data.jsonl"),
            "github.com/google-research/google-research, instruction_following_eval/data/input_data.jsonl",
        )
    },
    IFEvalSettings,
    questions,
    score,
    groups=("guardrail",),
    precheck=lambda settings, bench: checks() and None,
)
