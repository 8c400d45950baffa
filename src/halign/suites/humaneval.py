"""HumanEval: 164 functions to complete, tested by running them; pass@k by the unbiased estimator.

Source: Chen et al. 2021, arXiv 2107.03374. Replies run only where ``--run-code`` says so, in ``sandbox.py``. With n replies to a
problem of which c pass, pass@k = 1 - C(n - c, k) / C(n, k), and the mean over problems is reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.evaluate.repeated import pass_at_k
from halign.judges.records import GradeRecord
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings, one_turn
from halign.suites.files import Files, SetFile
from halign.suites.sandbox import Limits, run_programs

ASK = "Complete this Python function. Answer with the whole function in one block of code.\n\n```python\n{prompt}```"
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
"""Where a completion of plain text ends, as published."""
_BLOCK = re.compile(r"```(?:[Pp]ython3?|py)?[ \t]*\n(.*?)(?:```|\Z)", re.S)


class HumanEvalSettings(SuiteSettings):
    """Settings of HumanEval."""

    max_new_tokens: int = Field(768, ge=1, description="longest reply, in tokens")
    form: Literal["chat", "text"] = Field(
        "chat", description="ask for a function in a block of code, or let the model continue the prompt"
    )
    k: tuple[int, ...] = Field((1,), description="which pass@k; n must be as large")
    seconds: float = Field(10.0, gt=0, description="time for one program")
    memory: int = Field(1024, ge=64, description="memory for one program, in MiB")


def questions(files: Files, settings: HumanEvalSettings) -> list[Question]:
    """One question a row: task_id, prompt, entry_point, test."""
    fields = ("task_id", "prompt", "entry_point", "test")
    return [
        Question(
            str(row["task_id"]),
            one_turn(ASK.format(prompt=row["prompt"]))
            if settings.form == "chat"
            else Dialogue.of(str(row["prompt"])),
            meta={k: row[k] for k in fields[1:]},
        )
        for row in files.of_fields("questions", fields)
    ]


def completed(problem: Mapping[str, Any], reply: str, form: str) -> str:
    """The function as a program: the reply's whole function behind what the prompt says before it, or the prompt completed."""
    prompt, name = problem["prompt"], problem["entry_point"]
    if form == "text":
        ends = [at for stop in STOPS if (at := reply.find(stop)) >= 0]
        return str(prompt) + reply[: min(ends, default=len(reply))]
    blocks = _BLOCK.findall(reply) or [reply]
    defines = [b for b in blocks if re.search(rf"^def {re.escape(name)}\(", b, re.M)]
    if not defines:
        return str(prompt) + blocks[0]
    before = str(prompt)[: str(prompt).index(f"def {name}(")]
    return f"{before}\n{defines[0]}"


def tested(problem: Mapping[str, Any], program: str) -> str:
    """The program followed by the problem's tests."""
    return f"{program}\n{problem['test']}\ncheck({problem['entry_point']})\n"


def score(answered: Sequence[Answered], settings: HumanEvalSettings, bench: Bench) -> list[GradeRecord]:
    """Pass@k of each problem.

    Raises:
        HalignError: code may not be run.
    """
    if not bench.run_code:
        raise HalignError("humaneval runs what the model writes as programs: say --run-code if you want that")
    programs = [
        tested(a.question.meta, completed(a.question.meta, draw[0], settings.form))
        for a in answered
        for draw in a.draws
    ]
    ended = iter(run_programs(programs, Limits(settings.seconds, settings.memory)))
    found = []
    for a in answered:
        outcomes = [next(ended) for _ in a.draws]
        if not all(o.isolated for o in outcomes):
            bench.remark(
                "the kernel gave the programs no network namespace: sockets were refused by the interpreter alone"
            )
        passed = sum(o.passed for o in outcomes)
        found += [
            GradeRecord(
                dimension=f"pass@{k}",
                judge="tests",
                model=bench.model,
                value=pass_at_k(len(outcomes), passed, k),
                acceptable=bool(passed) if len(outcomes) == 1 else None,
                why=tuple(o.said for o in outcomes),
                **a.place(),
            )
            for k in settings.k
        ]
    return found


def _precheck(settings: HumanEvalSettings, bench: Bench) -> None:
    if not settings.k or min(settings.k) < 1 or max(settings.k) > settings.n:
        raise HalignError(f"humaneval.k = {list(settings.k)}: pass@k needs n >= k >= 1, and n = {settings.n}")
    if settings.n > 1 and settings.temperature == 0:
        raise HalignError(
            f"humaneval.n = {settings.n} at temperature 0 draws one reply {settings.n} times: set a temperature"
        )


SUITE = Suite(
    "humaneval",
    "164 functions to complete, run against their tests in a sandbox: pass@k (only with --run-code)",
    {
        "questions": SetFile(
            ("humaneval.jsonl", "HumanEval.jsonl"), "github.com/openai/human-eval, data/HumanEval.jsonl.gz"
        )
    },
    HumanEvalSettings,
    questions,
    score,
    code=True,
    precheck=_precheck,
)
