"""People as judges: a file of their votes, JSONL or CSV.

    item,a,b,dimension,verdict,rater      q1,m,n,adherence,A better,ann
    item,model,dimension,value,acceptable,rater      q1,m,helpfulness,4,true,ann

``verdict`` is one of the four bins, or ``A``, ``B``, ``both``, ``neither``, ``cannot tell``. ``dimension`` and ``rater`` may be
missing ("overall", "people"). A pair may stand either way round. What nobody voted on is not judged: it makes no record.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.judges.protocol import Mark, PlainVerdicts, Prompts, Replies, Ruling, Verdict

MODELS = "models"
"""Where a prompt's ``meta`` says whose replies are judged."""
OVERALL, PEOPLE = "overall", "people"
WORDS: dict[str, Verdict | None] = {
    **{v.value.lower(): v for v in Verdict},
    "a": Verdict.A,
    "b": Verdict.B,
    "both": Verdict.BOTH,
    "neither": Verdict.NEITHER,
    "cannot tell": None,
}
"""Vote -> verdict; None: the rater abstained."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One rater's word on two models' replies to an item (``a``, ``b``), or on one (``a``; ``b`` is "")."""

    item: str
    a: str
    b: str
    dimension: str
    rater: str
    verdict: Verdict | None = None
    value: float | None = None
    acceptable: bool | None = None


class HumanJudge(PlainVerdicts):
    """Votes by people. They are looked up by item and models, so it judges items and not texts.

    Args:
        file: of votes.
        rater: whose; None: everybody's, of which the majority counts. Without one, people abstain together.
        scale: worst and best value of grades.

    Raises:
        HalignError: no such file or rater.
        DataError: a row that is no vote, with file, line and field; two different votes of one rater on one question.
    """

    sees_order = False

    def __init__(
        self, file: str | Path, *, rater: str | None = None, scale: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        self.file, self.scale = Path(file), scale
        votes = _read(self.file)
        self.raters = sorted({v.rater for v in votes})
        if rater is not None and rater not in self.raters:
            raise HalignError(f"{file}: no rater {rater!r}; there are {', '.join(self.raters)}")
        self.name = f"human:{rater or '+'.join(self.raters)}"
        kept = [v for v in votes if rater in (None, v.rater)]
        self.dimensions = tuple(dict.fromkeys(v.dimension for v in kept))
        self._votes: dict[tuple[str, str, str], list[Vote]] = defaultdict(list)
        for vote in kept:
            self._votes[vote.item, vote.a, vote.b].append(vote)

    @property
    def settings(self) -> dict[str, Any]:
        """Which votes these are."""
        digest = hashlib.sha256(self.file.read_bytes()).hexdigest()[:16]
        return {"kind": "human", "file": str(self.file), "raters": self.raters, "sha256": digest}

    def each(self) -> list[HumanJudge]:
        """One judge for every rater."""
        return [HumanJudge(self.file, rater=r, scale=self.scale) for r in self.raters]

    def rulings(
        self, prompts: Prompts, a: Replies, b: Replies, others: Prompts | None = None
    ) -> list[list[Ruling]]:
        """The rulings on pairs of models, which the prompts' ``meta`` names (``item``, ``models``); none where nobody voted.

        Raises:
            HalignError: a prompt's ``meta`` does not say which item it is.
        """
        return [self._ruled(*_about(p, 2)) for p in prompts]

    def marks(self, prompts: Prompts, replies: Replies) -> list[list[Mark]]:
        """The mean of the values, acceptable if most raters find so.

        Raises:
            HalignError: as ``rulings``.
        """
        found = [_grouped(self._votes.get((*_about(p, 1), ""), [])) for p in prompts]  # type: ignore[arg-type]
        return [[_mark(d, votes, self.scale) for d, votes in one.items()] for one in found]

    def _ruled(self, item: str, a: str, b: str) -> list[Ruling]:
        turned = [_turned(v) for v in self._votes.get((item, b, a), [])]
        by_dimension = _grouped([*self._votes.get((item, a, b), []), *turned])
        return [_majority(d, [v.verdict for v in votes]) for d, votes in by_dimension.items()]


def _about(prompt: Dialogue, models: int) -> tuple[str, ...]:
    """Item and models that a prompt's replies belong to."""
    item, names = prompt.meta.get("item"), prompt.meta.get(MODELS, ())
    if item is None or len(names) != models:
        raise HalignError(
            "judge human: votes are looked up by item and model, and this prompt does not say whose replies are judged; use "
            "`halign judge`, or halign.judges.recording"
        )
    return (str(item), *map(str, names))


def _turned(vote: Vote) -> Vote:
    verdict = None if vote.verdict is None else vote.verdict.swapped
    return Vote(vote.item, vote.b, vote.a, vote.dimension, vote.rater, verdict)


def _grouped(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote.dimension, []).append(vote)
    return found


def _majority(dimension: str, verdicts: list[Verdict | None]) -> Ruling:
    """The verdict that most of those who gave one gave.

    >>> _majority("overall", [Verdict.A, Verdict.A, Verdict.BOTH]).verdict.value
    'A better'
    >>> _majority("overall", [Verdict.A, Verdict.B]).trouble
    'abstained'
    """
    counts = Counter(v for v in verdicts if v is not None).most_common(2)
    if not counts or (len(counts) == 2 and counts[0][1] == counts[1][1]):
        return Ruling(dimension, None, trouble="abstained")
    return Ruling(dimension, counts[0][0])


def _mark(dimension: str, votes: list[Vote], scale: tuple[float, float]) -> Mark:
    values = [v.value for v in votes if v.value is not None]
    fine = [v.acceptable for v in votes if v.acceptable is not None]
    acceptable = None if 2 * sum(fine) == len(fine) else 2 * sum(fine) > len(fine)
    value = sum(values) / len(values) if values else None if acceptable is None else float(acceptable)
    return Mark(dimension, value, scale, acceptable, trouble=None if value is not None else "abstained")


def _read(file: Path) -> list[Vote]:
    if not file.exists():
        raise HalignError(f"no file of votes at {file}")
    found: dict[tuple[str, ...], Vote] = {}
    for line, row in _rows(file):
        vote = _vote(row, file, line)
        key = (vote.item, vote.a, vote.b, vote.dimension, vote.rater)
        if found.setdefault(key, vote) != vote:
            raise DataError(
                f"rater {vote.rater!r} has voted otherwise on this before", file=str(file), line=line
            )
    if not found:
        raise HalignError(f"{file} holds no votes")
    return list(found.values())


def _rows(file: Path) -> Iterable[tuple[int, Mapping[str, Any]]]:
    if file.suffix == ".csv":
        with open(file, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            for row in reader:
                yield reader.line_num, {k: v for k, v in row.items() if v not in (None, "")}
        return
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError:
                raise DataError("not JSON", file=str(file), line=number) from None


def _vote(row: Mapping[str, Any], file: Path, line: int) -> Vote:
    def fail(field: str, problem: str) -> DataError:
        return DataError(problem, file=str(file), line=line, field=field)

    if not isinstance(row, Mapping) or "item" not in row:
        raise fail("item", "missing: which item of the folder is voted on?")
    about = (str(row.get("dimension", OVERALL)), str(row.get("rater", PEOPLE)))
    if "model" in row:
        value, acceptable = _number(row.get("value")), row.get("acceptable")
        if value is None and acceptable is None:
            raise fail("value", "a grade needs a finite number, or acceptable: true or false")
        fine = None if acceptable is None else str(acceptable).lower() in ("true", "1", "yes")
        return Vote(str(row["item"]), str(row["model"]), "", *about, value=value, acceptable=fine)
    for name in ("a", "b", "verdict"):
        if name not in row:
            raise fail(name, "missing; a vote has item, a, b and verdict, or item, model and value")
    word = str(row["verdict"]).strip().lower()
    if word not in WORDS:
        raise fail("verdict", f"{row['verdict']!r} is none of {', '.join(WORDS)}")
    return Vote(str(row["item"]), str(row["a"]), str(row["b"]), *about, verdict=WORDS[word])


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None
