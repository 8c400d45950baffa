"""``halign converse``: dialogues, verdicts and numbers of one model or two, in one judged folder.

FOLDER/dialogues.jsonl                          every dialogue, a canonical conversation
FOLDER/items.jsonl, verdicts.jsonl, judging.json    a folder of verdicts (``halign.judges.records``); items are the model's turns
FOLDER/results.json, results.txt                the numbers; the same as tables
FOLDER/rounds-MODEL.jsonl                       the turns as they came, for going on
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.dialogues import outcomes
from halign.dialogues.adversary import Speaker
from halign.dialogues.scenarios import Scenario
from halign.dialogues.talking import Talk, TalkSettings, Watch, talk
from halign.dialogues.verdicts import items, judged
from halign.evaluate import Interval
from halign.judges.protocol import name_of
from halign.judges.records import FACTS, ITEMS, VERDICTS, GradeRecord, append
from halign.readers.write import write_rows
from halign.suites.contract import Bench
from halign.suites.files import Files
from halign.suites.judging import about_judge

DIALOGUES, RESULTS = "dialogues.jsonl", "results.json"


@dataclass(frozen=True)
class Conversed:
    """What came of it.

    Attributes:
        totals: model -> its numbers.
        differ: share held by the first model less the second's; None with one model.
        remarks: what the tables' reader has to know.
    """

    path: Path
    totals: Mapping[str, outcomes.Totals]
    differ: Interval | None
    remarks: tuple[str, ...]

    def table(self) -> str:
        """The numbers as text."""
        return "\n\n".join([outcomes.table(self.totals, self.differ), *self.remarks])


def converse(
    models: Mapping[str, Any],
    user: Speaker,
    scenarios: Sequence[Scenario],
    judge: Any,
    folder: str | Path,
    settings: TalkSettings | None = None,
    *,
    overwrite: bool = False,
    command: str = "",
    watch: Watch = lambda done, total: None,
) -> Conversed:
    """Let every model talk with the user in every scenario, and judge what it said.

    Args:
        models: name -> sampler; one or two.
        judge: from ``halign.judges.find_judge``: of rules, ``checks``, or a language model that is asked of every rule whether it
            applies and whether it is kept.
        overwrite: begin again, whatever the folder holds.

    Raises:
        HalignError: as ``talk`` and the judge.
    """
    path, settings = Path(folder), settings or TalkSettings.model_validate({})
    path.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for file in (
            *path.glob("rounds-*.jsonl"),
            *(path / n for n in (ITEMS, VERDICTS, FACTS, DIALOGUES, RESULTS)),
        ):
            file.unlink(missing_ok=True)
    started = time.monotonic()
    talks = {m: talk(m, s, user, scenarios, settings, path, watch=watch) for m, s in models.items()}
    write_rows((t.row(m) for m, some in talks.items() for t in some), path / DIALOGUES)
    found, records, remarks = _judged(talks, judge)
    _write(path, talks, records)
    differ = outcomes.against(*(o for o, _ in found.values())) if len(found) == 2 else None
    result = Conversed(
        path, {m: outcomes.totals(o, r) for m, (o, r) in found.items()}, differ, tuple(remarks)
    )
    facts = {
        "judges": [about_judge(judge)],
        "user": user.name,
        "models": list(models),
        "settings": settings.model_dump(),
        "scenarios": len(scenarios),
        "counts": {"grades": len(records), "dialogues": sum(map(len, talks.values()))},
        "remarks": remarks,
        "seconds": time.monotonic() - started,
        "command": command,
    }
    (path / FACTS).write_text(json.dumps(facts, indent=1, ensure_ascii=False))
    numbers: dict[str, Any] = {"models": {m: t.to_dict() for m, t in result.totals.items()}}
    numbers |= {"difference": None if differ is None else differ.to_dict(), "remarks": remarks}
    (path / RESULTS).write_text(json.dumps(numbers, indent=1, ensure_ascii=False))
    (path / "results.txt").write_text(result.table() + "\n")
    return result


Found = dict[str, tuple[list[outcomes.Outcome], list[GradeRecord]]]


def _judged(talks: Mapping[str, Sequence[Talk]], judge: Any) -> tuple[Found, list[GradeRecord], list[str]]:
    found: Found = {}
    remarks: list[str] = []
    for model, some in talks.items():
        bench = Bench(model, Files("converse", {}), judge, remarks=remarks)
        records, ends = judged(some, bench, name_of(judge))
        found[model] = (ends, records)
        cut = sum(not f for t in some for f in t.finished)
        if cut:
            remarks.append(f"{model}: {cut} replies were cut off at max_new_tokens, and judged as they are")
        long = sum(not t.over for t in some)
        if long:
            remarks.append(
                f"{model}: {long} dialogues were ended at the most turns, before the user was content"
            )
    return found, [r for _, records in found.values() for r in records], remarks


def _write(path: Path, talks: Mapping[str, Sequence[Talk]], records: Sequence[GradeRecord]) -> None:
    """Items and verdicts, anew."""
    for name, some in ((ITEMS, items(talks)), (VERDICTS, records)):
        (path / name).unlink(missing_ok=True)
        append(path / name, some)
