"""A folder that is being judged: what is already in it is not asked again, and a kill at any moment loses one chunk at most.

Verdicts are added chunk by chunk. After each, ``.judging`` says how many bytes of verdicts.jsonl count; what stands behind
them when the job is taken up again is cut off. Which cases have been judged is read off the verdicts themselves, and of cases
on which the judge had nothing to say off ``.judging``. judging.json comes last.
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

from halign.alone import alone_in
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
    read_items,
    rewrite,
)

STATE = ".judging"
OF_MODELS = ("config.json", "config.yaml", "adapter_config.json")
"""Files by which the folder of a model or a run is known."""
NOTHING = {"bytes": 0, "seconds": 0.0, "cost": None, "calls": 0}
Key = tuple[str, ...]
"""Of a case: the judge, the item, the models."""
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
        HalignError: the folder is a model's or a run's, or holds verdicts of another identity, or some that this code did not
            write; another process is writing to it.
    """

    def __init__(self, path: str | Path, identity: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.path, self._identity = Path(path), _hashed(identity)
        if any((self.path / name).exists() for name in OF_MODELS):
            raise HalignError(f"{self.path} is the folder of a model or a run; name another for the verdicts")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = alone_in(self.path)
        if overwrite:
            for name in (STATE, VERDICTS, ITEMS, FACTS):
                (self.path / name).unlink(missing_ok=True)
        self._state = self._resumed()
        self.records: list[Record] = []
        if (self.path / VERDICTS).exists():
            self.records = Judged.read(self.path).records
        self.items = read_items(self.path / ITEMS)
        self.done = self._judged()
        self._started = time.monotonic()

    def _resumed(self) -> dict[str, Any]:
        file, verdicts = self.path / STATE, self.path / VERDICTS
        if not file.exists():
            if verdicts.exists():
                raise HalignError(
                    f"{self.path} holds verdicts that were not written here; take another folder"
                )
            return {"identity": self._identity, **NOTHING, "silent": []}
        state: dict[str, Any] = {"silent": [], **json.loads(file.read_text())}
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

    def add(self, records: Sequence[Record], asked: Iterable[Key] = (), **spent: Any) -> None:
        """Keep verdicts.

        Args:
            asked: the cases that were judged, by key; those without a record are kept as such.
            spent: ``calls`` and ``cost`` since the last time.
        """
        append(self.path / VERDICTS, records)
        self.records += records
        said = {key_of(r) for r in records}
        silent = [key for key in asked if key not in said]
        self._state["silent"] += silent
        self.done |= said.union(silent)
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
        self.drop(lambda r: key_of(r) in failed)
        return len(failed)

    def drop(self, which: Callable[[Record], bool]) -> None:
        """Forget some verdicts."""
        kept = [r for r in self.records if not which(r)]
        if len(kept) < len(self.records):
            rewrite(self.path / VERDICTS, kept)
            self.records = kept
            self.done = self._judged()
            self._save()

    def finish(self, facts: Mapping[str, Any]) -> Judged:
        """Write judging.json: ``facts`` with counts, seconds, calls and cost, where the facts do not say more of these."""
        said = {k: self._state[k] for k in ("seconds", "calls", "cost")}
        whole = {"counts": counts(self.records), **said, **facts}
        write_whole(self.path / FACTS, json.dumps(whole, indent=1, ensure_ascii=False, default=str))
        self._lock.close()
        return Judged(self.path, self.items, self.records, whole)

    def _judged(self) -> set[Key]:
        """Keys of the cases that were judged."""
        return {key_of(r) for r in self.records}.union(tuple(k) for k in self._state["silent"])

    def _save(self) -> None:
        file = self.path / VERDICTS
        self._state["bytes"] = file.stat().st_size if file.exists() else 0
        write_whole(self.path / STATE, json.dumps(self._state))


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
        HalignError: two judges have one name, by which verdicts are told apart; or as the judges'; what was judged before is in
            the folder.
    """
    names = [name_of(j) for j in judges]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise HalignError(
            f"two judges are called {', '.join(twice)}, and verdicts are told apart by their judge's name: judge into two "
            "folders, or give one another name="
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
    return keep(folder, judge, [_key(judge, c) for c in cases], lambda: records_of(judge, cases))


def keep(
    folder: JudgedFolder, judge: Any, asked: Sequence[Key], ask: Callable[[], Sequence[Record]]
) -> list[Record]:
    """As ``judge_chunk``, where somebody else makes records of what the judge says.

    Args:
        asked: the keys of the cases that ``ask`` is about.
    """
    calls, cost = _spent(judge)
    records: list[Record] = []
    judged: Sequence[Key] = ()
    try:
        records, judged = list(ask()), asked
    finally:
        now, spent = _spent(judge)
        extra = None if spent is None else spent - (cost or 0.0)
        folder.add(records, judged, calls=now - calls, cost=extra)
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


def _key(judge: Any, case: Case) -> Key:
    item, *models = case
    return (name_of(judge), item.item, *models)


def _spent(judge: Any) -> tuple[int, float | None]:
    """Calls and cost of a judge's client."""
    client = getattr(judge, "client", None)
    return (0, None) if client is None else (client.spent.calls, client.spent.cost)


def _hashed(identity: Mapping[str, Any]) -> str:
    text = json.dumps(identity, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def write_whole(file: Path, text: str) -> None:
    """All or nothing."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, file)
