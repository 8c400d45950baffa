"""Every verdict for the page's explorer: one table of columns, and the texts in pieces that are read when they are opened.

Both are JSON, gzipped and in base64, inside script elements of no type that a browser runs: texts stand nowhere in the page as
markup, and a page of 100,000 verdicts parses a few megabytes before it shows the first.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from halign.judges import Verdict
from halign.judges.records import GradeRecord, JudgedItem
from halign.reporting.conduct import split_judges
from halign.reporting.pool import Pool, Seen
from halign.reporting.secrets import without_secrets

PIECE = 200_000
"""Characters of JSON in a piece of texts, about."""

VERDICTS = tuple(Verdict)
K = TypeVar("K")


class Codes(Generic[K]):
    """Values by number, in the order in which they are met; None is -1."""

    def __init__(self, values: Sequence[K] = ()) -> None:
        self.known: dict[K, int] = {v: i for i, v in enumerate(values)}

    def __call__(self, value: K | None) -> int:
        return -1 if value is None else self.known.setdefault(value, len(self.known))

    @property
    def values(self) -> list[K]:
        return list(self.known)


@dataclass(frozen=True)
class Packed:
    """What the page embeds, in base64.

    Attributes:
        table: the columns (``columns``).
        pieces: the texts of the pool's items, in order (``_texts``).
    """

    table: str
    pieces: list[str]
    verdicts: int


def pack(pool: Pool) -> Packed:
    """All verdicts of a pool, packed."""
    pieces, starts = [], []
    for start, piece in _pieces(pool):
        starts.append(start)
        pieces.append(_compressed(piece))
    table = {**columns(pool), "starts": starts}
    return Packed(
        _compressed(json.dumps(table, ensure_ascii=False, separators=(",", ":"))), pieces, len(pool.seen)
    )


def columns(pool: Pool) -> dict[str, Any]:
    """The table: lists of names, and for every verdict (in the pool's order) its numbers in them; -1 where it has none.

    Of a grade, ``a`` is the model and ``b`` -1; ``fine`` is 1, 0 or, where no threshold was given, -1; ``split`` is 1 where the
    two orders disagree, 2 where another judge said something else, 3 where both.
    """
    judges, dimensions, rules, models, scales, troubles = (
        Codes[str](),
        Codes[str](),
        Codes[str](),
        Codes[str](pool.models),
        Codes[tuple[float, float]](),
        Codes[str](),
    )
    rows: list[tuple[Any, ...]] = []
    for seen, split in zip(pool.seen, split_judges(pool), strict=True):
        r = seen.record
        common = (seen.folder, seen.item, judges(r.judge), dimensions(r.dimension), rules(r.guardrail))
        if isinstance(r, GradeRecord):
            fine = -1 if r.acceptable is None else int(r.acceptable)
            own: tuple[Any, ...] = (models(r.model), -1, -1, -1, r.value, scales(r.scale), fine, 2 * split)
        else:
            unlike = r.outcome is not None and not r.outcome.agrees
            own = (
                models(r.a),
                models(r.b),
                _code(r.first),
                _code(r.second),
                None,
                -1,
                -1,
                unlike + 2 * split,
            )
        rows.append((*common, *own, troubles(r.trouble)))
    names = (
        "folder",
        "item",
        "judge",
        "dimension",
        "rule",
        "a",
        "b",
        "first",
        "second",
        "value",
        "scale",
        "fine",
    )
    table = {n: [row[i] for row in rows] for i, n in enumerate((*names, "split", "trouble"))}
    return {
        "judges": judges.values,
        "dimensions": dimensions.values,
        "rules": rules.values,
        "models": models.values,
        "scales": scales.values,
        "troubles": troubles.values,
        "verdicts": [v.value for v in VERDICTS],
        "folders": pool.names,
        "items": [i.item for i in pool.items],
        "conversations": [i.conversation for i in pool.items],
        "rows": table,
    }


def _code(verdict: Verdict | None) -> int:
    return -1 if verdict is None else VERDICTS.index(verdict)


def _pieces(pool: Pool) -> Iterator[tuple[int, str]]:
    """(number of the first item, JSON list of ``_texts``) of pieces of about ``PIECE`` characters."""
    reasons: dict[int, list[tuple[int, Seen]]] = {}
    for number, seen in enumerate(pool.seen):
        if seen.record.why:
            reasons.setdefault(seen.item, []).append((number, seen))
    held: list[str] = []
    start = size = 0
    for i, item in enumerate(pool.items):
        held.append(json.dumps(_texts(item, reasons.get(i, ())), ensure_ascii=False, separators=(",", ":")))
        size += len(held[-1])
        if size >= PIECE or i == len(pool.items) - 1:
            yield start, f"[{','.join(held)}]"
            held, start, size = [], i + 1, 0


def _texts(item: JudgedItem, reasons: Sequence[tuple[int, Seen]]) -> dict[str, Any]:
    """What is to be read of an item: turns as [role, content, anything else], and what judges wrote, by number of the verdict."""
    return {
        "prompt": [[str(m.get("role", "")), _content(m.get("content")), _rest(m)] for m in item.prompt],
        "replies": item.replies,
        "rules": list(item.guardrails),
        "turn": item.turn,
        "meta": _rest(item.meta),
        "why": {str(n): list(s.record.why) for n, s in reasons},
    }


def _content(content: Any) -> str:
    return (
        content
        if isinstance(content, str)
        else ""
        if content is None
        else json.dumps(content, ensure_ascii=False)
    )


def _rest(of: Any) -> str:
    left = {k: v for k, v in of.items() if k not in ("role", "content") and v not in (None, "", [], {})}
    return json.dumps(left, ensure_ascii=False, default=str) if left else ""


def _compressed(text: str) -> str:
    data = gzip.compress(without_secrets(text).encode(errors="replace"), compresslevel=6, mtime=0)
    return base64.b64encode(data).decode()
