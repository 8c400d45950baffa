"""Folders of verdicts, read and laid together: an item that several judges saw is one item.

Where judging.json of two folders says different things of judges with one name (another endpoint, model, rubric or setting), the
judges are kept apart by their folders' names. A folder that says nothing of a judge is taken at its word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
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
        called = judge_names(judged)
        items: list[JudgedItem] = []
        known: dict[tuple[str, str], list[int]] = {}
        seen: list[Seen] = []
        for folder, j in enumerate(judged):
            place = {name: _placed(item, items, known) for name, item in j.items.items()}
            for r in j.records:
                if r.item not in place:  # its row is not written yet, or lost
                    place[r.item] = _placed(JudgedItem(r.item, r.conversation, [], {}), items, known)
                shown = called.get((folder, r.judge))
                seen.append(Seen(folder, place[r.item], replace(r, judge=shown) if shown else r))
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
