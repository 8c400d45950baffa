"""Comparisons of two models as arrays: what win rates and ratings are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from halign.errors import HalignError
from halign.evaluate.clusters import Codes, Floats, coded
from halign.judges import Verdict
from halign.judges.records import GradeRecord, PairRecord


@dataclass(frozen=True)
class Matches:
    """n comparisons among m models.

    Attributes:
        models: their names, sorted.
        a, b: int64 [n], which models met, as indices into ``models``.
        results: float64 [n, 3]: how much of the comparison A won, B won, and was a tie. Rows sum to 1. Orders that disagree
            count half each.
        conversations: [n], what clusters the intervals.
        items: [n], ids of the prompts.
        left_out: comparisons without a verdict in both orders; they are in none of the arrays.
    """

    models: tuple[str, ...]
    a: Codes
    b: Codes
    results: Floats
    conversations: tuple[str, ...]
    items: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.a)

    @property
    def score(self) -> Floats:
        """[n]: what A made of each comparison, in [0, 1]; a tie is half a win."""
        found: Floats = self.results[:, 0] + self.results[:, 2] / 2
        return found

    @property
    def clusters(self) -> tuple[Codes, int]:
        """The conversations numbered, and how many there are."""
        return coded(self.conversations)

    @classmethod
    def of(cls, records: Iterable[PairRecord]) -> Matches:
        """From verdicts on pairs, of one dimension.

        Raises:
            HalignError: no comparison has both its verdicts.
        """
        rows, left_out = [], 0
        for r in records:
            if (o := r.outcome) is None:
                left_out += 1
                continue
            won, lost = o.share(Verdict.A), o.share(Verdict.B)
            rows.append((r.a, r.b, (won, lost, 1 - won - lost), r.conversation, r.item))
        return cls._made(rows, left_out)

    @classmethod
    def of_grades(cls, records: Iterable[GradeRecord]) -> Matches:
        """From grades of single replies, of one dimension: of two models that the same judge graded on the same item, the
        higher grade wins; equal grades are a tie. A grade that did not come leaves out its model's comparisons on that item.

        Raises:
            HalignError: no item has grades of two models.
        """
        graded: dict[tuple[str, str, str], dict[str, GradeRecord]] = defaultdict(dict)
        for r in records:
            graded[r.item, r.judge, r.guardrail or ""][r.model] = r
        rows, left_out = [], 0
        for (item, _, _), by_model in graded.items():
            for x, y in combinations(sorted(by_model), 2):
                u, v = by_model[x].value, by_model[y].value
                if u is None or v is None:
                    left_out += 1
                    continue
                result = (float(u > v), float(v > u), float(u == v))
                rows.append((x, y, result, by_model[x].conversation, item))
        return cls._made(rows, left_out)

    @classmethod
    def _made(cls, rows: Sequence[tuple[str, str, tuple[float, ...], str, str]], left_out: int) -> Matches:
        if not rows:
            raise HalignError(
                f"no comparison of two models has a verdict ({left_out} have none); judge pairs of models, or two models each"
            )
        models = tuple(sorted({name for row in rows for name in row[:2]}))
        place = {name: i for i, name in enumerate(models)}
        return cls(
            models=models,
            a=np.array([place[row[0]] for row in rows]),
            b=np.array([place[row[1]] for row in rows]),
            results=np.array([row[2] for row in rows], dtype=float),
            conversations=tuple(row[3] for row in rows),
            items=tuple(row[4] for row in rows),
            left_out=left_out,
        )
