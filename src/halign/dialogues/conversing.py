"""``halign converse``: dialogues, verdicts and numbers of one model or two, in one judged folder.

FOLDER/dialogues.jsonl                          every dialogue, a canonical conversation
FOLDER/items.jsonl, verdicts.jsonl, judging.json    a folder of verdicts (``halign.judges.records``); items are the model's turns
FOLDER/results.json, results.txt                the numbers; the same as tables
FOLDER/spent.json                               what endpoints were asked and what it cost (``account``)
FOLDER/settings.json                            what it was begun with (``halign.begun``)
FOLDER/rounds-MODEL.jsonl, .judging             the turns as they came, and how far judging is, for going on
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from halign.alone import alone_in
from halign.begun import begin, refuse_other
from halign.dialogues import outcomes
from halign.dialogues.account import Account, clients
from halign.dialogues.adversary import Speaker
from halign.dialogues.estimating import Outlook
from halign.dialogues.estimating import outlook as look
from halign.dialogues.scenarios import Scenario
from halign.dialogues.talking import Said, Talk, TalkSettings, Watch, read_rounds, rounds_file, talk
from halign.dialogues.verdicts import HELD, held_records, items, judge_replies, outcomes_of
from halign.errors import HalignError
from halign.evaluate import Interval
from halign.judges.folder import JudgedFolder, write_whole
from halign.judges.records import GradeRecord, append_rows
from halign.llm import Budget, Spent
from halign.readers.write import write_rows
from halign.sampling.versions import version_of
from halign.suites.contract import Bench
from halign.suites.files import Files
from halign.suites.judging import about_judge

DIALOGUES, RESULTS = "dialogues.jsonl", "results.json"
Phase = Callable[[str], Watch]
"""Told what is being done; gives what hears how far it is."""


@dataclass(frozen=True)
class Conversed:
    """What came of it.

    Attributes:
        totals: model -> its numbers.
        differ: share held by the first model less the second's; None with one model.
        remarks: what the tables' reader has to know.
        spent: side ("user", "model NAME", "judge") -> what its endpoint was asked, over all calls of the job.
    """

    path: Path
    totals: Mapping[str, outcomes.Totals]
    differ: Interval | None
    remarks: tuple[str, ...]
    spent: Mapping[str, Spent]

    def table(self) -> str:
        """The numbers as text."""
        bill = "\n".join(f"{side}: {one}" for side, one in self.spent.items())
        blocks = [outcomes.table(self.totals, self.differ), *self.remarks, bill]
        return "\n\n".join(b for b in blocks if b)

    def save(self) -> None:
        """Write results.json and results.txt."""
        numbers = {
            "models": {m: t.to_dict() for m, t in self.totals.items()},
            "difference": None if self.differ is None else self.differ.to_dict(),
            "remarks": list(self.remarks),
            "spent": {side: asdict(one) for side, one in self.spent.items()},
        }
        write_whole(self.path / RESULTS, json.dumps(numbers, indent=1, ensure_ascii=False))
        write_whole(self.path / "results.txt", self.table() + "\n")


@dataclass(frozen=True)
class Job:
    """Who talks with whom about what, and who judges.

    Attributes:
        models: name -> sampler; one or two.
        judge: from ``halign.judges.find_judge``: of rules, ``checks``, or a language model that is asked of every rule whether it
            applies and whether it is kept.
    """

    models: Mapping[str, Any]
    user: Speaker
    scenarios: Sequence[Scenario]
    judge: Any
    settings: TalkSettings

    def begun_with(self) -> dict[str, Any]:
        """What the results depend on, by name."""
        bare = [asdict(replace(s, start=replace(s.start, guardrails=()))) for s in self.scenarios]
        return {
            **{f"model {name}": version_of(sampler) for name, sampler in self.models.items()},
            "user": [self.user.name, getattr(self.user, "version", None)],
            "scenarios": _digest(bare),
            "rules": _digest([s.start.guardrails for s in self.scenarios]),
            **self.settings.model_dump(),
            "judge": about_judge(self.judge),
        }

    def refuse_alike(self, folder: Path) -> None:
        """See that each model has a file of its own.

        Raises:
            HalignError: two names differ in punctuation alone.
        """
        if len({rounds_file(folder, name) for name in self.models}) < len(self.models):
            raise HalignError(f"{' and '.join(self.models)} would share a file: give one another --name")


def estimate(job: Job, folder: str | Path, *, overwrite: bool = False) -> Outlook:
    """What ``converse`` would call for beyond the turns that the folder has; nothing is asked or written.

    Raises:
        HalignError: no side is behind an endpoint; or as ``converse`` of the folder.
    """
    path = Path(folder)
    before: dict[str, list[Said]] = {}
    if not overwrite:
        refuse_other(path, job.begun_with())
        before = {name: read_rounds(rounds_file(path, name)) for name in job.models}
    return look(job.models, job.user, job.scenarios, job.judge, job.settings, before)


def converse(
    job: Job,
    folder: str | Path,
    *,
    budget: Budget | None = None,
    overwrite: bool = False,
    command: str = "",
    phase: Phase = lambda name: lambda done, total: None,
) -> Conversed:
    """Let every model talk with the user in every scenario, and judge what it said.

    What a stopped call left is kept: turns of dialogues that are whole, and verdicts; those that nobody answered are asked again.

    Args:
        budget: what the endpoints' clients share; what calls before have spent of it is gone.
        overwrite: begin again, whatever the folder holds.

    Raises:
        HalignError: the folder was begun with something else, which is named; another process is at work there; as ``talk`` and
            the judge.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    with alone_in(path):
        job.refuse_alike(path)
        own = job.begun_with()
        begin(path, own, overwrite=overwrite, kind="folder of dialogues")
        account = Account(path, clients(job.models, job.user, job.judge), budget)
        try:
            return _conversed(job, JudgedFolder(path, own), account, command, phase)
        finally:
            account.save()


def _conversed(job: Job, judged: JudgedFolder, account: Account, command: str, phase: Phase) -> Conversed:
    path = judged.path
    talks = {name: _talked(job, name, path, account, phase(f"dialogues of {name}")) for name in job.models}
    write_rows((t.row(m) for m, some in talks.items() for t in some), path / DIALOGUES)
    judged.drop(lambda r: r.dimension == HELD)
    judged.drop_failed()
    judged.add_items(items(talks))
    remarks: list[str] = []
    found: dict[str, tuple[list[outcomes.Outcome], list[GradeRecord]]] = {}
    for name, some in talks.items():
        bench = Bench(name, Files("converse", {}), job.judge, remarks=remarks)
        judge_replies(judged, some, bench, watch=_kept(account, phase(f"verdicts on {name}")))
        records = [r for r in judged.records if isinstance(r, GradeRecord) and r.model == name]
        ends = outcomes_of(some, records, name)
        found[name] = ends, records
        remarks += _remarks(name, some)
    for name, (ends, _) in found.items():
        judged.add(held_records(talks[name], ends, Bench(name, Files("converse", {}), job.judge)))
    totals = {name: outcomes.totals(ends, records) for name, (ends, records) in found.items()}
    differ = outcomes.against(*(ends for ends, _ in found.values())) if len(found) == 2 else None
    result = Conversed(path, totals, differ, tuple(remarks), account.spent)
    result.save()
    judged.finish(_facts(job, account, talks, remarks, command))
    return result


def _talked(job: Job, name: str, path: Path, account: Account, watch: Watch) -> list[Talk]:
    file = rounds_file(path, name)

    def keep(said: Said) -> None:
        append_rows(file, [{"said": said}])
        account.save()

    before = read_rounds(file)
    return talk(job.models[name], job.user, job.scenarios, job.settings, before, keep=keep, watch=watch)


def _kept(account: Account, watch: Watch) -> Watch:
    def after(done: int, total: int) -> None:
        account.save()
        watch(done, total)

    return after


def _remarks(model: str, talks: Sequence[Talk]) -> list[str]:
    cut = sum(not f for t in talks for f in t.finished)
    long = sum(not t.over for t in talks)
    found = []
    if cut:
        found.append(f"{model}: {cut} replies were cut off at max_new_tokens, and judged as they are")
    if long:
        found.append(f"{model}: {long} dialogues were ended at the most turns, before the user was content")
    return found


def _facts(
    job: Job, account: Account, talks: Mapping[str, Sequence[Talk]], remarks: Sequence[str], command: str
) -> dict[str, Any]:
    """What judging.json says beside counts and seconds."""
    bill: dict[str, Any] = {}
    if asked := account.spent:
        bill = {"calls": account.total.calls, "cost": account.total.cost}
        bill["spent"] = {side: str(one) for side, one in asked.items()}
    return {
        "judges": [about_judge(job.judge)],
        "user": job.user.name,
        "models": list(job.models),
        "settings": job.settings.model_dump(),
        "scenarios": len(job.scenarios),
        "dialogues": sum(map(len, talks.values())),
        "remarks": list(remarks),
        **bill,
        "command": command,
    }


def _digest(value: Any) -> str:
    words = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(words.encode()).hexdigest()[:24]
