"""Folders of verdicts, read and laid together: an item that several judges saw is one item.

Where judging.json of two folders says different things of judges with one name (another endpoint, model, rubric or setting), the
judges are kept apart by their folders' names. A folder that says nothing of a judge is taken at its word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from halign.judges.records import GradeRecord, Judged, JudgedItem, Record


class Seen(NamedTuple):
    """A verdict in its place: which folder it is of, and which of the pool's items it is about."""

    folder: int
    item: int
    record: Record


class Came(NamedTuple):
    """Replies that joined an item: its place, the models, and whether the item itself is new."""

    item: int
    models: tuple[str, ...]
    first: bool


class Pool:
    """All verdicts of some folders, which may go on growing; nothing that is in it moves.

    Attributes:
        items: every prompt once, with all replies that any folder has to it. Two items are one if id and prompt are the same
            and no model has different replies in them.
        seen: the verdicts, as they came.
        came: the items and their replies, as they came.
        models: in the order in which they are met.
        lost: for each folder, judged items without a row.
    """

    def __init__(self, judged: Sequence[Judged]) -> None:
        """Empty, for these folders. What they hold is added by ``of``, or as it comes."""
        self.judged = judged
        self.items: list[JudgedItem] = []
        self.seen: list[Seen] = []
        self.came: list[Came] = []
        self.lost: list[set[str]] = [set() for _ in judged]
        self._models: dict[str, None] = {}
        self._called = judge_names(judged)
        self._places: dict[tuple[int, str], int] = {}
        self._known: dict[tuple[str, str], list[int]] = {}

    @classmethod
    def of(cls, judged: Sequence[Judged]) -> Pool:
        """Lay folders together."""
        pool = cls(judged)
        for folder, j in enumerate(judged):
            pool.add_items(folder, j.items.values())
        for folder, j in enumerate(judged):
            pool.add(folder, j.records)
        return pool

    def add_items(self, folder: int, items: Iterable[JudgedItem]) -> bool:
        """Items of a folder. False where one contradicts what the folder said of it before: the pool must be laid anew."""
        for item in items:
            there = self._places.get((folder, item.item))
            if there is None:
                self._places[folder, item.item] = self._placed(item)
            elif item.item in self.lost[folder] or not self._joined(there, item):
                return False
        return True

    def add(self, folder: int, records: Iterable[Record]) -> None:
        """Verdicts of a folder. An item without a row has no prompt and no replies."""
        for r in records:
            key = folder, r.item
            if key not in self._places:  # its row is not written yet, or lost
                self.lost[folder].add(r.item)
                self._places[key] = self._placed(JudgedItem(r.item, r.conversation, [], {}))
            shown = self._called.get((folder, r.judge))
            self.seen.append(Seen(folder, self._places[key], replace(r, judge=shown) if shown else r))
            self._models.update(dict.fromkeys((r.model,) if isinstance(r, GradeRecord) else (r.a, r.b)))

    @property
    def records(self) -> list[Record]:
        return [s.record for s in self.seen]

    @property
    def models(self) -> list[str]:
        return list(self._models)

    @cached_property
    def names(self) -> list[str]:
        """What the folders are called."""
        return folder_names([j.path for j in self.judged])

    def _placed(self, item: JudgedItem) -> int:
        """The item's place, where it is put or laid together with one that is there."""
        of = self._known.setdefault((item.item, json.dumps(item.prompt, sort_keys=True)), [])
        for place in of:
            if self._joined(place, item):
                return place
        of.append(len(self.items))
        self.items.append(item)
        self._note(Came(of[-1], tuple(item.replies), True))
        return of[-1]

    def _joined(self, place: int, item: JudgedItem) -> bool:
        """Lay an item together with the one at ``place``, if no reply of theirs differs."""
        there = self.items[place]
        if there.prompt != item.prompt or any(there.replies.get(m, t) != t for m, t in item.replies.items()):
            return False
        if new := tuple(m for m in item.replies if m not in there.replies):
            self.items[place] = replace(there, replies={**there.replies, **item.replies})
            self._note(Came(place, new, False))
        return True

    def _note(self, came: Came) -> None:
        self.came.append(came)
        self._models.update(dict.fromkeys(came.models))


def judge_names(judged: Sequence[Judged]) -> dict[tuple[int, str], str]:
    """(folder, judge) -> what it is called, for judges whose name means different ones."""
    said: dict[str, dict[int, Mapping[str, Any]]] = {}
    for folder, j in enumerate(judged):
        for about in j.facts.get("judges", ()):
            said.setdefault(str(about["name"]), {})[folder] = about
    folders = folder_names([j.path for j in judged])
    return {
        (folder, name): f"{name} ({folders[folder]})"
        for name, of in said.items()
        if not all(_same(a, b) for a, b in combinations(of.values(), 2))
        for folder in of
    }


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two descriptions are of one judge, which may have been asked about different dimensions."""
    rubrics = [{r["name"]: r for r in about.get("rubrics", ())} for about in (one, other)]
    if any(rubrics[0][n] != rubrics[1][n] for n in rubrics[0].keys() & rubrics[1].keys()):
        return False
    plain = [{k: v for k, v in a.items() if k not in ("dimensions", "rubrics")} for a in (one, other)]
    return plain[0] == plain[1]


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
