"""Evaluating a model on sets of questions: sample, score, add up, and go on where an interrupted call stopped.

OUTPUT/results.json, results.txt      every measure with its interval; the same as a table
OUTPUT/SUITE/replies.jsonl            what the model said
OUTPUT/SUITE/items.jsonl, verdicts.jsonl, judging.json     a folder of verdicts (``halign.judges.records``)
OUTPUT/SUITE/outputs.json             the replies as AlpacaEval's tool reads them, of sets with one turn
OUTPUT/before/SUITE/...               the same of the model before, with ``before``
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halign.alone import alone_in
from halign.begun import begin
from halign.errors import HalignError
from halign.judges.records import FACTS, ITEMS, VERDICTS, Judged, Record, append, rewrite
from halign.suites import registry
from halign.suites.answers import CHUNK, Stored, Told, sampled
from halign.suites.contract import Answered, Bench, Question, Suite, SuiteSettings
from halign.suites.files import Files
from halign.suites.judging import about_judge, check_judge
from halign.suites.results import Results, SuiteResult, summary
from halign.suites.subject import Subject, subject

OUTPUTS = "outputs.json"


@dataclass(frozen=True)
class Job:
    """What an evaluation is told.

    Attributes:
        data: the file of the questions, or a folder; None: ``$HALIGN_DATA``.
        limit: only the first questions of each set.
        judge: one of ``halign.judges`` (``find_judge`` makes one of words).
        baseline: a file of stored outputs that the replies are compared with.
        run_code: replies may be run as programs, in a sandbox.
        told: set's name -> what hears how far it is.
    """

    data: Path | None = None
    limit: int | None = None
    judge: Any = None
    baseline: Path | None = None
    run_code: bool = False
    overwrite: bool = False
    command: str = ""
    told: Mapping[str, Told] = field(default_factory=dict)


def evaluate(
    model: Any,
    suites: Sequence[str],
    *,
    output: str | Path,
    before: Any = None,
    job: Job | None = None,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Results:
    """Evaluate a model on every set named; with ``before``, that model too, and what changed.

    Args:
        model, before: see ``subject``.
        settings: of the sets (``registry.resolve``).

    Raises:
        HalignError: no such set, a file that is missing, a set that needs a judge and got none, settings other than those that
            ``output`` was begun with. All that can be known before sampling is said before it.
    """
    job = job or Job()
    found = [registry.find(s) for s in suites]
    resolved = registry.resolve(found, settings or {})
    if job.data is not None and job.data.is_file() and len(found) > 1:
        raise HalignError(
            f"--data {job.data} is the file of one set, and {len(found)} are named: give a folder"
        )
    if job.judge is not None and all(s.judge == "none" for s in found):
        raise HalignError(
            f"--judge would have no effect: no judge is asked by {', '.join(s.name for s in found)}"
        )
    for suite in found:
        _check(suite, resolved[suite.name], job)
    folder = Path(output)
    subjects = [(subject(model, name), folder)]
    if before is not None:
        subjects.append((subject(before), folder / "before"))
    results: list[SuiteResult] = []
    for suite in found:
        parts = [run_suite(suite, resolved[suite.name], who, at / suite.name, job) for who, at in subjects]
        results.append(summary(suite, resolved[suite.name], *parts))
    done = Results(
        subjects[0][0].name, subjects[1][0].name if before is not None else None, tuple(results), job.command
    )
    done.save(folder)
    return done


def _check(suite: Suite, settings: SuiteSettings, job: Job) -> None:
    check_judge(suite, job.judge)
    if suite.code and not job.run_code:
        raise HalignError(
            f"{suite.name} runs what the model writes as programs. Say --run-code if you want that: in a subprocess with "
            "limits, which are no guarantee against a program that means harm"
        )
    files = Files(suite.name, suite.files, job.data)
    for key in suite.files:
        files.path(key)
    suite.precheck(settings, _bench(files, Subject("", None), job))


def _judged(suite: Suite, job: Job) -> bool:
    """Whether the judge has a part in this set."""
    return job.judge is not None and suite.judge != "none"


def _bench(files: Files, who: Subject, job: Job) -> Bench:
    """What scoring may use."""
    baseline = Stored.read(job.baseline) if job.baseline else None
    against = None if baseline is None else (baseline.name, baseline.outputs)
    return Bench(who.name, files, job.judge, who.policy, job.run_code, against)


@dataclass(frozen=True)
class Part:
    """One model on one set."""

    answered: list[Answered]
    judged: Judged
    remarks: list[str]
    totals: dict[str, Any]


def run_suite(suite: Suite, settings: SuiteSettings, who: Subject, folder: Path, job: Job) -> Part:
    """One set, to its end; what an interrupted call left in ``folder`` is kept.

    Raises:
        HalignError: another process is at it, or as ``evaluate``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with alone_in(folder):
        return _run(suite, settings, who, folder, job)


def _run(suite: Suite, settings: SuiteSettings, who: Subject, folder: Path, job: Job) -> Part:
    began = time.monotonic()
    files = Files(suite.name, suite.files, job.data)
    every = suite.questions(files, settings)
    questions = every[: job.limit]
    if len({q.id for q in questions}) != len(questions):
        raise HalignError(f"{suite.name}: two questions have the same id; ids tell replies apart")
    bench = _bench(files, who, job)
    _begin(suite, settings, who, folder, job, every)
    each = settings.n if suite.sampled and not isinstance(who.answers, Stored) else 1
    scored = _scored(folder, {q.id: each * (1 + len(q.then)) for q in questions})
    told = job.told.get(suite.name, lambda done, total: None)
    chunks: Iterable[list[Answered]]
    if not suite.sampled:
        chunks = _chunks([Answered(q, ()) for q in questions])
    elif isinstance(who.answers, Stored):
        chunks = _chunks(who.answers.answers(questions, suite.name))
    else:
        chunks = sampled(questions, who.answers, settings, folder, told)
    answered: list[Answered] = []
    for chunk in chunks:
        answered += chunk
        new = [a for a in chunk if a.question.id not in scored]
        if new:
            records = suite.score(new, settings, bench)
            append(folder / VERDICTS, records)
            items = [i for a in new for i in a.items(who.name, suite.others(a, settings, bench))]
            append(folder / ITEMS, items)
    (folder / VERDICTS).touch()
    _write_outputs(answered, who.name, folder)
    judged = _only(Judged.read(folder), answered)
    extra = suite.totals(answered, judged, settings, bench) if suite.totals is not None else {}
    facts = {
        "judges": [about_judge(job.judge) if _judged(suite, job) else {"name": suite.name, "kind": "rules"}],
        "suite": suite.name,
        "settings": settings.model_dump(mode="json"),
        "models": [who.name],
        "verdicts": len(judged.records),
        "seconds": round(time.monotonic() - began, 3),
        "command": job.command,
        "remarks": bench.remarks,
    }
    if getattr(job.judge, "client", None) is not None:
        facts["spent"] = str(job.judge.client.spent)
    (folder / FACTS).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return Part(answered, judged, bench.remarks, extra)


def _begin(
    suite: Suite, settings: SuiteSettings, who: Subject, folder: Path, job: Job, questions: Sequence[Question]
) -> None:
    """Say what the folder is for, or see that it is for the same.

    Args:
        questions: all of the set, before any limit.
    """
    own = {
        "suite": suite.name,
        "model": who.name,
        "version": who.version,
        "settings": settings.model_dump(mode="json"),
        "judge": about_judge(job.judge) if _judged(suite, job) else None,
        "baseline": str(job.baseline) if job.baseline else None,
        "data": str(job.data) if job.data else None,
        "questions": _digest(questions),
    }
    begin(folder, own, overwrite=job.overwrite, kind="evaluation")


def _digest(questions: Sequence[Question]) -> str:
    """Of what is asked, and of the answers that are right: ids may be places in a file, and a file that was changed asks
    something else under the same id.
    """
    asked = [
        [
            q.id,
            [m.to_dict() for m in q.prompt.messages],
            q.prompt.guardrails,
            q.then,
            q.baseline,
            dict(q.meta),
        ]
        for q in questions
    ]
    return hashlib.sha256(json.dumps(asked, default=str).encode()).hexdigest()[:24]


def _scored(folder: Path, replies: Mapping[str, int]) -> set[str]:
    """Ids of the questions that are scored; what a chunk that was cut off while it was written left of others is taken away, and
    so are those of which some verdict did not come because nobody answered: they are asked again.

    Args:
        replies: question -> how many items it has when it is whole.
    """
    if not (folder / VERDICTS).exists():
        return set()
    judged = Judged.read(folder)
    there = Counter(str(i.meta["question"]) for i in judged.items.values())
    failed = {r.item for r in judged.records if r.trouble == "failed"}
    again = {str(i.meta["question"]) for k, i in judged.items.items() if k in failed}
    whole = {q for q, count in there.items() if count >= replies.get(q, count)} - again
    items = {k: i for k, i in judged.items.items() if str(i.meta["question"]) in whole}
    records = [r for r in judged.records if r.item in items]
    for name, kept, had in ((ITEMS, items.values(), judged.items), (VERDICTS, records, judged.records)):
        if len(kept) < len(had):
            rewrite(folder / name, kept)
    return whole


def _only(judged: Judged, answered: Sequence[Answered]) -> Judged:
    """The folder with no more than these questions, where an earlier call took more."""
    wanted = {a.question.id for a in answered}
    items = {k: i for k, i in judged.items.items() if str(i.meta["question"]) in wanted}
    records: list[Record] = [r for r in judged.records if r.item in items]
    return Judged(judged.path, items, records, judged.facts)


def _chunks(answered: list[Answered]) -> Iterable[list[Answered]]:
    return (answered[i : i + CHUNK] for i in range(0, len(answered), CHUNK))


def _write_outputs(answered: Sequence[Answered], model: str, folder: Path) -> None:
    """The first replies as AlpacaEval's tool reads them (``alpaca_eval --model_outputs``)."""
    if not answered or any(a.question.then or not a.draws for a in answered):
        return
    rows = [
        {
            "instruction": a.question.prompt.messages[-1].content,
            "output": a.draws[0][0],
            "generator": model,
            "dataset": str(a.question.meta.get("dataset", "")),
        }
        for a in answered
    ]
    (folder / OUTPUTS).write_text(json.dumps(rows, indent=2, ensure_ascii=False) + "\n")
