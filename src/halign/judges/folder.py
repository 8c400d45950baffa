"""A folder that is being judged: what is already in it is not asked again, and a kill at any moment loses one chunk at most.

Verdicts are added chunk by chunk. After each, ``.judging`` says how many bytes of verdicts.jsonl count; what stands behind
them when the job is taken up again is cut off. Which cases have been judged is read off the verdicts themselves. judging.json
comes last.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.judges.protocol import name_of
from halign.judges.recording import Case, key_of, records_of
from halign.judges.records import (
    FACTS,
    ITEMS,
    VERDICTS,
    Judged,
    JudgedItem,
    PairRecord,
    Record,
    append,
    rows,
    to_row,
)

STATE = ".judging"
Watch = Callable[[int, int, str], None]
"""Called with (cases done, cases in all, what it has cost so far)."""


class JudgedFolder:
    """A judged folder, written.

    Args:
        path: of the folder; it is made, or taken up where it was left.
        identity: what its verdicts depend on; a folder of another identity is not taken up.
        overwrite: empty it first.

    Attributes:
        records: the verdicts so far; ``done``: keys of the cases that they belong to.

    Raises:
        HalignError: the folder holds verdicts of another identity, or some that this code did not write.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path, self._identity = Path(path), _hashed(identity)
        self.path.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for name in (STATE, VERDICTS, ITEMS, FACTS):
                (self.path / name).unlink(missing_ok=True)
        self._state = self._resumed()
        self.records: list[Record] = []
        if (self.path / VERDICTS).exists():
            self.records = Judged.read(self.path).records
        self.items = {row["item"]: JudgedItem(**row) for _, row in rows(self.path / ITEMS)}
        self.done = {key_of(r) for r in self.records}
        self._started = time.monotonic()

    def _resumed(self) -> dict[str, Any]:
        file, verdicts = self.path / STATE, self.path / VERDICTS
        if not file.exists():
            if verdicts.exists():
                raise HalignError(
                    f"{self.path} holds verdicts that were not written here; take another folder"
                )
            return {"identity": self._identity, "bytes": 0, "seconds": 0.0, "cost": None, "calls": 0}
        state: dict[str, Any] = json.loads(file.read_text())
        if state["identity"] != self._identity:
            raise HalignError(
                f"{self.path} holds verdicts on other replies, or by another judge, rubric or setting; take another folder, or "
                "--overwrite"
            )
        if verdicts.exists():
            os.truncate(verdicts, min(state["bytes"], verdicts.stat().st_size))
        return state

    def add_items(self, items: Iterable[JudgedItem]) -> None:
        """Keep items that are new, or have new replies; the last row of an item counts."""
        new = [i for i in items if self.items.get(i.item) != i]
        append(self.path / ITEMS, new)
        self.items |= {i.item: i for i in new}

    def add(self, records: Sequence[Record], **spent: Any) -> None:
        """Keep verdicts.

        Args:
            spent: ``calls`` and ``cost`` since the last time.
        """
        append(self.path / VERDICTS, records)
        self.records += records
        self.done |= {key_of(r) for r in records}
        now = time.monotonic()
        self._state["seconds"] += now - self._started
        self._started = now
        self._state["calls"] += spent.get("calls", 0)
        if spent.get("cost") is not None:
            self._state["cost"] = (self._state["cost"] or 0.0) + spent["cost"]
        self._save()

    def drop_failed(self) -> int:
        """Forget the cases of which some answer did not come, so that they are asked again; returns how many."""
        failed = {key_of(r) for r in self.records if r.trouble == "failed"}
        kept = [r for r in self.records if key_of(r) not in failed]
        if failed:
            beside = self.path / f".{VERDICTS}"
            beside.write_text("".join(json.dumps(to_row(r), ensure_ascii=False) + "\n" for r in kept))
            os.replace(beside, self.path / VERDICTS)
            self.records, self.done = kept, {key_of(r) for r in kept}
            self._save()
        return len(failed)

    def finish(self, facts: Mapping[str, Any]) -> Judged:
        """Write judging.json: ``facts`` with counts, seconds, calls and cost."""
        said = {k: self._state[k] for k in ("seconds", "calls", "cost")}
        whole = {**facts, "counts": counts(self.records), **said}
        _write(self.path / FACTS, json.dumps(whole, indent=1, ensure_ascii=False, default=str))
        return Judged(self.path, self.items, self.records, whole)

    def _save(self) -> None:
        file = self.path / VERDICTS
        self._state["bytes"] = file.stat().st_size if file.exists() else 0
        _write(self.path / STATE, json.dumps(self._state))


def judge_cases(
    folder: JudgedFolder,
    judges: Sequence[Any],
    cases: Sequence[Case],
    *,
    chunk: int = 32,
    watch: Watch = lambda done, total, note: None,
) -> None:
    """Let every judge judge every case that is not in the folder yet, chunk by chunk.

    Raises:
        HalignError: two judges have one name, so that their verdicts could not be told apart; or as the judges'. What was judged
            before is in the folder.
    """
    names = [name_of(j) for j in judges]
    if twice := {n for n in names if names.count(n) > 1}:
        raise HalignError(
            f"two judges are called {', '.join(sorted(twice))}: give each a folder of its own (--output)"
        )
    todo = [(j, c) for j in judges for c in cases if _key(j, c) not in folder.done]
    total = len(judges) * len(cases)
    done = total - len(todo)
    watch(done, total, "")
    before, started = done, time.monotonic()
    for judge in judges:
        mine = [c for j, c in todo if j is judge]
        for start in range(0, len(mine), chunk):
            some = mine[start : start + chunk]
            judge_chunk(folder, judge, some)
            done += len(some)
            rate = (done - before) / max(1e-9, time.monotonic() - started)
            watch(done, total, f"{rate:,.1f} a second {spent_in_words(judge)}".rstrip())


def judge_chunk(folder: JudgedFolder, judge: Any, cases: Sequence[Case]) -> list[Record]:
    """Let a judge judge some cases and keep what it says; what it cost is kept also where it stops half-way.

    Raises:
        HalignError: as the judge's.
    """
    calls, cost = _spent(judge)
    records: list[Record] = []
    try:
        records = records_of(judge, cases)
    finally:
        now, spent = _spent(judge)
        folder.add(records, calls=now - calls, cost=None if spent is None else spent - (cost or 0.0))
    return records


def spent_in_words(judge: Any) -> str:
    """What a judge has cost in this process; "" where it asks nobody."""
    calls, cost = _spent(judge)
    return "" if not calls else f"{calls:,} calls" if cost is None else f"cost {cost:,.4g}"


def about(judges: Sequence[Any]) -> list[dict[str, Any]]:
    """What judging.json says of the judges."""
    return [
        {"name": name_of(j), "dimensions": list(j.dimensions), **getattr(j, "settings", {"kind": "own"})}
        for j in judges
    ]


def counts(records: Iterable[Record]) -> dict[str, int]:
    """How many records of each kind, on how many the orders disagree, and how many have which trouble."""
    found: Counter[str] = Counter({"pairs": 0, "grades": 0, "orders disagree": 0})
    for record in records:
        pair = isinstance(record, PairRecord)
        found["pairs" if pair else "grades"] += 1
        if isinstance(record, PairRecord) and record.outcome and not record.outcome.agrees:
            found["orders disagree"] += 1
        if record.trouble:
            found[record.trouble] += 1
    return dict(found)


def _key(judge: Any, case: Case) -> tuple[str, ...]:
    item, *models = case
    return (name_of(judge), item.item, *models)


def _spent(judge: Any) -> tuple[int, float | None]:
    """Calls and cost of a judge's client."""
    client = getattr(judge, "client", None)
    return (0, None) if client is None else (client.spent.calls, client.spent.cost)


def _hashed(identity: Mapping[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _write(file: Path, text: str) -> None:
    """All or nothing."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, file)
