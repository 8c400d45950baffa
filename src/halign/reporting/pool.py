"""Folders of verdicts, read and laid together: an item that several judges saw is one item."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from halign.errors import HalignError
from halign.judges.records import FACTS, ITEMS, VERDICTS, GradeRecord, Judged, JudgedItem, Record
from halign.reporting.evidence import CONFIG


class Seen(NamedTuple):
    """A verdict in its place: which folder it is of, and which of the pool's items it is about."""

    folder: int
    item: int
    record: Record


@dataclass(frozen=True)
class Pool:
    """All verdicts of some folders.

    Attributes:
        items: every prompt once, with all replies that any folder has to it. Two items are one if id and prompt are the same
            and no model has different replies in them.
    """

    judged: Sequence[Judged]
    items: Sequence[JudgedItem]
    seen: Sequence[Seen]

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Pool:
        """Lay folders together."""
        items: list[JudgedItem] = []
        known: dict[tuple[str, str], list[int]] = {}
        seen: list[Seen] = []
        for folder, j in enumerate(judged):
            place = {name: _placed(item, items, known) for name, item in j.items.items()}
            for r in j.records:
                if r.item not in place:  # its row is not written yet, or lost
                    place[r.item] = _placed(JudgedItem(r.item, r.conversation, [], {}), items, known)
                seen.append(Seen(folder, place[r.item], r))
        return cls(judged, items, seen)

    @cached_property
    def records(self) -> list[Record]:
        return [s.record for s in self.seen]

    @cached_property
    def models(self) -> list[str]:
        """In the order in which they are met."""
        return list(dict.fromkeys(self._models()))

    @cached_property
    def names(self) -> list[str]:
        """What the folders are called."""
        return folder_names([j.path for j in self.judged])

    def _models(self) -> Iterator[str]:
        for item in self.items:
            yield from item.replies
        for r in self.records:
            yield from (r.model,) if isinstance(r, GradeRecord) else (r.a, r.b)


def folder_names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with as many of those above as tell them apart.

    >>> folder_names([Path("a/ipo/run"), Path("a/kto/run"), Path("judged")])
    ['ipo/run', 'kto/run', 'judged']
    """
    parts = [f.resolve().parts for f in folders]
    out = []
    for own in parts:
        alike = [p for p in parts if p != own]
        depth = next((d for d in range(1, len(own)) if all(p[-d:] != own[-d:] for p in alike)), len(own))
        out.append("/".join(own[-depth:]))
    return out


def _placed(item: JudgedItem, items: list[JudgedItem], known: dict[tuple[str, str], list[int]]) -> int:
    """The item's place in ``items``, where it is put or laid together with one that is there."""
    of = known.setdefault((item.item, json.dumps(item.prompt, sort_keys=True)), [])
    for place in of:
        there = items[place].replies
        if all(there.get(model, text) == text for model, text in item.replies.items()):
            if not there.keys() >= item.replies.keys():
                items[place] = replace(items[place], replies={**there, **item.replies})
            return place
    of.append(len(items))
    items.append(item)
    return of[-1]


def sort_out(paths: Iterable[Any]) -> tuple[list[Any], list[Judged]]:
    """(run folders or ``Run`` objects, judged folders) of what a report is asked about.

    A judged folder without verdicts counts: judging has only begun.

    Raises:
        HalignError: if a folder is neither.
        DataError: a row that cannot be read.
    """
    runs: list[Any] = []
    judged: list[Judged] = []
    for given in paths:
        folder = Path(getattr(given, "path", given))
        if (folder / CONFIG).exists():
            runs.append(given)
        elif any((folder / name).exists() for name in (ITEMS, VERDICTS)):
            judged.append(Judged.read(folder) if (folder / VERDICTS).exists() else Judged(folder, {}, [], {}))
        else:
            raise HalignError(
                f"{folder} is not a run folder (it has no {CONFIG}) and not a judged one (no {ITEMS}, {VERDICTS} or {FACTS})"
            )
    return runs, judged
