"""What was judged, kept on disk: a folder of prompts with replies, of verdicts, and of how they came about.

    FOLDER/items.jsonl      one prompt a row, with every model's reply to it (``JudgedItem``)
    FOLDER/verdicts.jsonl   one verdict a row: of two replies (``PairRecord``) or of one (``GradeRecord``)
    FOLDER/judging.json     the judge, its rubric and settings, counts, cost, seconds and the exact command

Everything downstream (statistics, ratings, audits, reports) reads such folders, whoever judged. A verdict that did not come is
a row as well: its ``trouble`` says why, and no statistic counts it as a tie.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.judges.protocol import Outcome, Trouble, Verdict

T = TypeVar("T")
HISTORIES = "histories"
"""Where an item's ``meta`` has what stands before each model's reply, if that is not the prompt."""

_ALWAYS = ("prompt", "replies")
ITEMS, VERDICTS, FACTS = "items.jsonl", "verdicts.jsonl", "judging.json"


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """One prompt and what each model replied to it.

    Attributes:
        item: id, unique in the folder.
        conversation: what clusters the intervals.
        turn: index of the reply in its conversation, in messages from 0; None if unknown.
        replies: model -> its reply.
        meta: category, reference answer, domain ... whatever a rubric or a filter may want.
    """

    item: str
    conversation: str
    prompt: list[dict[str, Any]]
    replies: dict[str, str]
    guardrails: list[str] = field(default_factory=list)
    turn: int | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def dialogue(self) -> Dialogue:
        """The prompt as judges and samplers take it."""
        return self._dialogue(self.prompt)

    def answered_by(self, model: str) -> Dialogue:
        """What this model's reply answers. Where each model has earlier turns of its own (MT-Bench's second turn),
        ``meta["histories"]`` holds the messages before its reply by model; for all others it is the prompt.
        """
        return self._dialogue(self.meta.get(HISTORIES, {}).get(model, self.prompt))

    def _dialogue(self, messages: list[dict[str, Any]]) -> Dialogue:
        meta = {k: v for k, v in self.meta.items() if k != HISTORIES}
        return Dialogue.of(
            messages,
            guardrails=tuple(self.guardrails),
            meta={**meta, "conversation": self.conversation, "item": self.item},
        )


@dataclass(frozen=True, slots=True)
class PairRecord:
    """One comparison of two replies on one dimension, in both orders.

    Attributes:
        a, b: names of the models.
        first, second: the verdict with A shown first, and with B shown first, the latter turned back so that A is the same
            model in both. A judge that cannot see the order is asked once, and both are the same. None where ``trouble`` is said.
        guardrail: the rule that was asked about; None: all of the dimension.
        why: what the judge wrote, in the two orders.
        trouble: of the orders that have no verdict.
    """

    item: str
    conversation: str
    dimension: str
    judge: str
    a: str
    b: str
    first: Verdict | None
    second: Verdict | None
    guardrail: str | None = None
    turn: int | None = None
    why: tuple[str, ...] = ()
    trouble: Trouble | None = None
    kind: str = "pair"

    @property
    def outcome(self) -> Outcome | None:
        """Both verdicts; None unless there are both."""
        if self.first is None or self.second is None:
            return None
        return Outcome(self.first, self.second)


@dataclass(frozen=True, slots=True)
class GradeRecord:
    """One reply, graded alone on one dimension.

    Attributes:
        value: the grade within ``scale``; None where ``trouble`` is said.
        scale: worst and best grade. Yes or no is (0, 1).
        acceptable: fine or not, where the rubric says which grades are; None if it does not, or there is no grade.
        guardrail: the rule that was asked about; None: all of the dimension.
    """

    item: str
    conversation: str
    dimension: str
    judge: str
    model: str
    value: float | None
    scale: tuple[float, float] = (0.0, 1.0)
    acceptable: bool | None = None
    guardrail: str | None = None
    turn: int | None = None
    why: tuple[str, ...] = ()
    trouble: Trouble | None = None
    kind: str = "grade"


Record = PairRecord | GradeRecord


def to_row(record: Record | JudgedItem) -> dict[str, Any]:
    """The JSON row of a record or an item; fields that say nothing are left out, but for an item's prompt and replies."""
    return {k: v for k, v in asdict(record).items() if v not in (None, (), [], {}) or k in _ALWAYS}


def record_of(row: Mapping[str, Any]) -> Record:
    """The record that ``to_row`` wrote.

    Raises:
        KeyError, TypeError, ValueError: if the row is none.
    """
    known = {"why": tuple(row.get("why", ()))}
    if row["kind"] == "pair":
        orders = {k: Verdict(row[k]) if row.get(k) is not None else None for k in ("first", "second")}
        return PairRecord(**{**row, **known, **orders})
    if row["kind"] == "grade":
        value = row.get("value")
        return GradeRecord(**{"value": value, **row, **known, "scale": tuple(row.get("scale", (0.0, 1.0)))})
    raise ValueError(f"kind = {row['kind']!r} is neither pair nor grade")


@dataclass(frozen=True)
class Judged:
    """A folder of verdicts, read.

    Attributes:
        facts: of judging.json; empty while judging is under way.
    """

    path: Path
    items: dict[str, JudgedItem]
    records: list[Record]
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: str | Path) -> Judged:
        """The folder.

        Raises:
            HalignError: if it is none.
            DataError: a row that cannot be read, with its file and line. A torn last line is left out: the job was cut there.
        """
        path = Path(folder)
        if not (path / VERDICTS).exists():
            raise HalignError(f"{path} holds no verdicts: there is no {VERDICTS}")
        of_verdicts = path / VERDICTS
        items = read_items(path / ITEMS)
        records = [made(record_of, row, of_verdicts, n) for n, row in rows(of_verdicts)]
        return cls(path, items, records, read_facts(path / FACTS))

    @property
    def pairs(self) -> list[PairRecord]:
        return [r for r in self.records if isinstance(r, PairRecord)]

    @property
    def grades(self) -> list[GradeRecord]:
        return [r for r in self.records if isinstance(r, GradeRecord)]


def read_items(file: Path) -> dict[str, JudgedItem]:
    """Id -> item of a file of items; the last row of an item counts. None if the file is not there.

    Raises:
        DataError: as ``Judged.read``.
    """
    found = [made(JudgedItem, row, file, n) for n, row in rows(file)]
    return {i.item: i for i in found}


def read_facts(file: Path) -> dict[str, Any]:
    """What judging.json says; empty if there is none.

    Raises:
        DataError: it is not JSON, or does not say who judged.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not all(isinstance(j, dict) and "name" in j for j in found.get("judges", ())):
            raise ValueError("a judge without a name")
    except (AttributeError, TypeError, ValueError) as e:
        said = f"it does not say who judged, and how ({e}); delete it, and judge again: verdicts are kept"
        raise DataError(said, file=str(file)) from None
    return dict(found)


def rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, row) of a file that may still be written: none if it is not there, and a torn last line is left out.

    Raises:
        DataError: a line that is no JSON object, before the last.
    """
    lines = file.read_bytes().split(b"\n") if file.exists() else []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except ValueError:
            if number == len(lines):
                return
            raise DataError("not JSON", file=str(file), line=number) from None


def append(file: Path, records: Iterable[Record | JudgedItem]) -> None:
    """Add records to a file, after cutting off a last line that an interruption tore."""
    append_rows(file, map(to_row, records))


def append_rows(file: Path, added: Iterable[Mapping[str, Any]]) -> None:
    """Add JSON rows to a file, after cutting off a last line that an interruption tore.

    A last line that lacks nothing but its end is kept: ``rows`` reads it, so it must not vanish afterwards.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab+") as to:
        _mend(to)
        for row in added:
            to.write(_encoded(row) + b"\n")


def rewrite(file: Path, records: Iterable[Record | JudgedItem]) -> None:
    """Put other records in place of a file's, all or nothing."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(b"".join(_encoded(to_row(r)) + b"\n" for r in records))
    os.replace(beside, file)


def _encoded(row: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8; half a surrogate pair (of a reply that was cut in the middle of a character) has no UTF-8 and is escaped."""
    try:
        return json.dumps(row, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return json.dumps(row, default=str).encode()


def _mend(file: IO[bytes]) -> None:
    """End the last line, or cut it off where it is torn."""
    if not file.seek(0, os.SEEK_END):
        return
    file.seek(-1, os.SEEK_END)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    data = file.read()
    start = data.rfind(b"\n") + 1
    try:
        json.loads(data[start:])
    except ValueError:
        file.truncate(start)
    else:
        file.write(b"\n")


def made(make: Callable[..., T], row: Any, file: Path, line: int) -> T:
    """``make`` of the row; what is wrong with it is said with its file and line.

    Raises:
        DataError: the row is none of that kind.
    """
    try:
        return make(**row) if isinstance(make, type) else make(row)
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise DataError(f"not a row of verdicts: {e}", file=str(file), line=line) from None
