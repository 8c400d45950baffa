"""What ``halign rate`` reads: folders of verdicts laid together, people's labels, a file of difficulties."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.judges.records import GradeRecord, Judged, Record

FIT: Literal["fit"] = "fit"
"""In place of a file of difficulties: fit them here."""


@dataclass(frozen=True)
class Rows:
    """The folders' verdicts under ids that say what was asked (``_key``), their replies, and what people say.

    Attributes:
        texts: (item, model) -> reply.
        clashing: those of which two folders have different ones.
        labelled: grades on the replies that people labelled; ``people``: theirs; None: no labels were given.
    """

    records: list[Record]
    texts: dict[tuple[str, str], str]
    clashing: set[tuple[str, str]]
    labelled: list[GradeRecord]
    people: list[GradeRecord] | None

    @classmethod
    def of(cls, folders: list[Path], judge: str | None, labels: Path | None) -> Rows:
        from halign.judges.records import Judged

        read = [Judged.read(folder) for folder in folders]
        records = [
            r for j in read for r in _placed(j) if r.guardrail is None and (judge is None or r.judge == judge)
        ]
        texts: dict[tuple[str, str], str] = {}
        clashing = set()
        for j in read:
            for key, item in j.items.items():
                for model, reply in item.replies.items():
                    if texts.setdefault((_key(j, key), model), reply) != reply:
                        clashing.add((_key(j, key), model))
        labelled, people = (None, None) if labels is None else _labels(labels, read)
        if labelled is None:
            labelled = grades_of(records)
        return cls(records, texts, clashing, labelled, people)

    def dimensions(self, only: str | None) -> list[str]:
        """Those there are, or the one asked for.

        Raises:
            HalignError: none.
        """
        there = sorted({r.dimension for r in self.records})
        if not there or (only is not None and only not in there):
            raise HalignError(
                f"rate: no verdicts of this dimension or judge; dimensions there: {', '.join(there) or 'none'}"
            )
        return there if only is None else [only]


def _key(judged: Judged, item: str) -> str:
    """An id that says what was asked: folders number their items alike, and two models' grades are compared only where both
    answered the same last message.
    """
    known = judged.items.get(item)
    return f"{item}\n{known.prompt[-1].get('content', '') if known is not None and known.prompt else ''}"


def _placed(judged: Judged) -> list[Record]:
    return [replace(r, item=_key(judged, r.item)) for r in judged.records]


def grades_of(records: list[Record]) -> list[GradeRecord]:
    from halign.judges.records import GradeRecord

    return [r for r in records if isinstance(r, GradeRecord)]


def is_person(judge: str) -> bool:
    return judge.startswith("human:")


def _labels(labels: Path, read: list[Judged]) -> tuple[list[GradeRecord] | None, list[GradeRecord]]:
    """(the judge's grades on the labelled replies, None where those are the folders' own; what people say of them).

    Raises:
        HalignError: a folder in which people judged nothing; or as ``HumanJudge``.
    """
    from halign.judges.recording import grade_records
    from halign.judges.records import VERDICTS, Judged
    from halign.judges.votes import HumanJudge

    if (labels / VERDICTS).exists():
        grades = grades_of(_placed(Judged.read(labels)))
        people = [r for r in grades if is_person(r.judge)]
        if not people:
            raise HalignError(
                f"--corrected-by {labels}: people graded nothing there; judge it with --judge human:FILE besides"
            )
        return [r for r in grades if not is_person(r.judge)], people
    judge, found = HumanJudge(labels), []
    for j in read:
        said = grade_records(judge, [(item, model) for item in j.items.values() for model in item.replies])
        found += [replace(r, item=_key(j, r.item)) for r in said]
    return None, found


def difficulty_of(words: str | None) -> dict[str, float] | Literal["fit"] | None:
    """Item's id -> g_x, or ``fit``.

    Raises:
        HalignError: as ``read_difficulty``.
    """
    from halign.evaluate.controls import read_difficulty

    if words is None:
        return None
    return FIT if words == FIT else read_difficulty(Path(words))
