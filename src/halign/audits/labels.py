"""What people said of pairs of replies, and which verdicts it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.errors import DataError
from halign.judges.records import PairRecord, rows

TIE = "tie"
"""In a file of labels, what stands for no preference."""


@dataclass(frozen=True, slots=True)
class Label:
    """What people prefer of two replies to one prompt.

    Attributes:
        item: id of the prompt, as in the verdicts.
        preferred: a or b; None: neither is better.
        dimension: the dimension it is about; None: any.
        subset: part of its set, such as "Natural"; "" where there are none.
    """

    item: str
    a: str
    b: str
    preferred: str | None
    dimension: str | None = None
    subset: str = ""


def read_labels(file: str | Path) -> list[Label]:
    """A JSONL file of {"item", "a", "b", "preferred", "dimension"?, "subset"?}; ``preferred`` is the name of a or b, or "tie".

    Raises:
        DataError: a row that is none, with its line; no file, or no row in it.
    """
    path, found = Path(file), []
    for number, row in rows(path):
        found.append(_label(row, str(path), number))
    if not found:
        raise DataError(
            'no labels: a JSON object a line is wanted, {"item", "a", "b", "preferred"}', file=str(path)
        )
    return found


def _label(row: Mapping[str, Any], file: str, number: int) -> Label:
    for name in ("item", "a", "b", "preferred"):
        if not isinstance(row.get(name), str):
            raise DataError("a text is wanted", file=file, line=number, field=name)
    if row["preferred"] not in (row["a"], row["b"], TIE):
        problem = f"{row['preferred']!r} is neither {row['a']!r} nor {row['b']!r} nor {TIE!r}"
        raise DataError(problem, file=file, line=number, field="preferred")
    preferred = None if row["preferred"] == TIE else row["preferred"]
    return Label(row["item"], row["a"], row["b"], preferred, row.get("dimension"), row.get("subset", ""))


class Lookup:
    """Labels by the verdicts they belong to, whichever model was called A."""

    def __init__(self, labels: Iterable[Label]) -> None:
        self.found = {(label.item, frozenset((label.a, label.b)), label.dimension): label for label in labels}

    def of(self, record: PairRecord) -> Label | None:
        """The label on the record's dimension, else on any; None if there is none."""
        pair = frozenset((record.a, record.b))
        for dimension in (record.dimension, None):
            if (label := self.found.get((record.item, pair, dimension))) is not None:
                return label
        return None

    def sign(self, record: PairRecord) -> int | None:
        """1 where people prefer the record's A, -1 its B, 0 neither; None without a label."""
        if (label := self.of(record)) is None:
            return None
        return {record.a: 1, record.b: -1, None: 0}[label.preferred]


def matched(records: Sequence[PairRecord], labels: Iterable[Label]) -> list[tuple[PairRecord, Label, int]]:
    """Records with verdicts in both orders and a label: each with its label and the label's sign."""
    lookup = Lookup(labels)
    found = []
    for record in records:
        label, sign = lookup.of(record), lookup.sign(record)
        if record.outcome is not None and label is not None and sign is not None:
            found.append((record, label, sign))
    return found
