"""Every verdict for the page's explorer: one table of columns, and the texts in pieces that are read when they are opened.

Both are JSON, gzipped and in base64, inside script elements of no type that a browser runs: texts stand nowhere in the page as
markup, and a page of 100,000 verdicts parses a few megabytes before it shows the first.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from halign.judges import Verdict
from halign.judges.records import GradeRecord, JudgedItem
from halign.reporting.conduct import Splits
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
        table: ``Table.whole``.
        pieces: the texts of the pool's items, in order (``_texts``).
    """

    table: str
    pieces: list[str]
    verdicts: int


class Mark(NamedTuple):
    """How much of a table somebody has: verdicts, items, corrections of ``split``, replies."""

    rows: int = 0
    items: int = 0
    corrected: int = 0
    came: int = 0


NAMES = (
    "folder", "item", "judge", "dimension", "rule", "a", "b", "first", "second", "value", "scale", "fine", "split", "trouble"
)  # fmt: skip


class Table:
    """A pool's verdicts as columns, kept up: for each, in the pool's order, its numbers in lists of names; -1 where it has none.

    Of a grade, ``a`` is the model and ``b`` -1; ``fine`` is 1, 0 or, where no threshold was given, -1; ``split`` is 1 where the
    two orders disagree, 2 where another judge said something else, 3 where both.

    Attributes:
        of_item: number of an item -> those of its verdicts.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.rows: dict[str, list[Any]] = {name: [] for name in NAMES}
        self.of_item: dict[int, list[int]] = {}
        self.splits, self._corrected = Splits(), list[int]()
        self._codes: dict[str, Codes[Any]] = {
            name: Codes() for name in ("judges", "dimensions", "rules", "models", "scales", "troubles")
        }
        self.catch_up()

    def catch_up(self) -> None:
        """Take up what has joined the pool."""
        for name in self.pool.models:
            self._codes["models"](name)
        for seen in self.pool.seen[len(self.rows["item"]) :]:
            self._add(seen)

    def _add(self, seen: Seen) -> None:
        code, r, number = self._codes, seen.record, len(self.rows["item"])
        corrected = self.splits.add(seen)
        for n in corrected:
            self.rows["split"][n] |= 2
        self._corrected += corrected
        split = 2 * self.splits.split[number]
        model, trouble = code["models"], code["troubles"](r.trouble)
        own: tuple[Any, ...]
        if isinstance(r, GradeRecord):
            fine = -1 if r.acceptable is None else int(r.acceptable)
            own = model(r.model), -1, -1, -1, r.value, code["scales"](r.scale), fine, split
        else:
            unlike = r.outcome is not None and not r.outcome.agrees
            own = model(r.a), model(r.b), _code(r.first), _code(r.second), None, -1, -1, unlike + split
        about = code["judges"](r.judge), code["dimensions"](r.dimension), code["rules"](r.guardrail)
        for name, value in zip(NAMES, (seen.folder, seen.item, *about, *own, trouble), strict=True):
            self.rows[name].append(value)
        self.of_item.setdefault(seen.item, []).append(number)

    @property
    def mark(self) -> Mark:
        """All of it."""
        return Mark(len(self.rows["item"]), len(self.pool.items), len(self._corrected), len(self.pool.came))

    def whole(self) -> dict[str, Any]:
        """The table for the page."""
        return {**self._names(0), "folders": self.pool.names, "rows": self.rows, "mark": self.mark}

    def since(self, have: Mark, most: int) -> dict[str, Any]:
        """What somebody lacks, up to ``most`` verdicts and replies: ``mark`` is where that leads to.

        Returns:
            the lists of names (of items and conversations, the new ones); rows: the new verdicts; split: [number of an earlier
            verdict, its ``split`` now]; texts: number of an item -> ``_texts``, of items that are new or of which more is said.
        """
        whole = self.mark
        to = whole._replace(rows=min(whole.rows, have.rows + most), came=min(whole.came, have.came + most))
        rows = {name: of[have.rows : to.rows] for name, of in self.rows.items()}
        touched = {*rows["item"], *(c.item for c in self.pool.came[have.came : to.came])}
        return {
            **self._names(have.items),
            "rows": rows,
            "split": [[n, self.rows["split"][n]] for n in self._corrected[have.corrected :]],
            "texts": {i: self.texts(i) for i in touched},
            "mark": to,
        }

    def _names(self, items: int) -> dict[str, Any]:
        lists = {name: codes.values for name, codes in self._codes.items()}
        new = self.pool.items[items:]
        lists["items"] = [i.item for i in new]
        lists["conversations"] = [i.conversation for i in new]
        return {**lists, "verdicts": [v.value for v in VERDICTS]}

    def texts(self, item: int) -> dict[str, Any]:
        """What is to be read of an item."""
        said = ((n, self.pool.seen[n].record.why) for n in self.of_item.get(item, ()))
        return _texts(self.pool.items[item], {str(n): list(why) for n, why in said if why})

    def packed(self) -> Packed:
        """All of it for the page."""
        starts, pieces = [], []
        for start, piece in self._pieces():
            starts.append(start)
            pieces.append(_compressed(piece))
        return Packed(_compressed(_json({**self.whole(), "starts": starts})), pieces, self.mark.rows)

    def _pieces(self) -> Iterator[tuple[int, str]]:
        """(number of the first item, JSON list of ``_texts``) of pieces of about ``PIECE`` characters."""
        held: list[str] = []
        start = size = 0
        last = len(self.pool.items) - 1
        for i in range(last + 1):
            held.append(_json(self.texts(i)))
            size += len(held[-1])
            if size >= PIECE or i == last:
                yield start, f"[{','.join(held)}]"
                held, start, size = [], i + 1, 0


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _code(verdict: Verdict | None) -> int:
    return -1 if verdict is None else VERDICTS.index(verdict)


def _texts(item: JudgedItem, why: Mapping[str, list[str]]) -> dict[str, Any]:
    """What is to be read of an item: turns as [role, content, anything else], and what judges wrote, by number of the verdict."""
    return {
        "prompt": [[str(m.get("role", "")), _content(m.get("content")), _rest(m)] for m in item.prompt],
        "replies": item.replies,
        "rules": list(item.guardrails),
        "turn": item.turn,
        "meta": _rest(item.meta),
        "why": why,
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
