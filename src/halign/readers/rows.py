"""One row -> one example: which format it has, and what all share (names, guardrails, tools, meta)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.examples import Example
from halign.readers import completions, fields, messages, naming, pairs, rankings, singles, text, tools
from halign.readers.cells import typed
from halign.readers.columns import Columns
from halign.readers.foreign import FOREIGN
from halign.readers.foreign.contract import Foreign
from halign.readers.recognise import (
    ALL,
    FORMATS,
    NAMES,
    OWN,
    SHARED,
    candidates,
    detected,
    nearest,
    recognise,
)
from halign.readers.sources import Cells

Parse = Callable[[fields.Row, str, Mapping[str, Any]], Example]

PARSERS: dict[str, Parse] = {
    "messages": messages.parse,
    "pairs": pairs.parse,
    "rankings": rankings.parse,
    "singles": singles.parse,
    "completions": completions.parse,
    "text": text.parse,
}
LAYOUTS = 10_000
"""Sets of columns that are remembered; a file with more of them has names for columns that are data."""


@dataclass(frozen=True)
class Options:
    """How columns that have no fixed meaning are used.

    Attributes:
        format: the rows' format; None finds it from the columns.
        guardrails: name of the column that holds the rules; None means ``guardrails``, where there is one.
        conversation: name of the column that names the conversation; None means ``conversation``, else
            ``id``.
        conversation_pattern: what of that name counts: the first group of this regular expression, or all it
            matches.
        columns: known name -> where its value is found (``halign.readers.columns``); applied before all else.
    """

    format: str | None = None
    guardrails: str | None = None
    conversation: str | None = None
    conversation_pattern: str | None = None
    columns: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise HalignError(
                f"no such format: {self.format!r}{fields.hint(self.format, FORMATS)}; {', '.join(FORMATS)}"
            )
        try:
            re.compile(self.conversation_pattern or "")
        except re.error as e:
            raise HalignError(f"conversation_pattern {self.conversation_pattern!r}: {e}") from None


@dataclass(frozen=True)
class Layout:
    """What the columns of a row decide.

    Attributes:
        format: the rows' format.
        why: how that was seen.
        rest: columns that go to meta.
        foreign: the format's own reading, if it is somebody else's.
        others: formats that these columns allow and the values of the first such row did not show; they must not show
            them later.
    """

    format: str
    why: str
    rest: tuple[str, ...]
    foreign: Foreign | None = None
    others: tuple[Foreign, ...] = ()


class RowParser:
    """Turns rows into (format, example). What its columns alone decide is found once per set of columns.

    Attributes:
        why: how the format of the first row was seen; '' before it.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.why = ""
        self._first: Layout | None = None
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._pattern = re.compile(options.conversation_pattern) if options.conversation_pattern else None
        self._used = {c for c in (options.guardrails, options.conversation) if c}
        self._columns = Columns(options.columns, NAMES) if options.columns else None

    def __call__(self, row: Any) -> tuple[str, Example]:
        """The row's format and example.

        Raises:
            DataError: naming the field only.
        """
        layout, kind, row, extras, conversation = self._prepared(row)
        if kind == "prompts":
            raise DataError(
                "this row is a prompt without a reply: nothing to train on. Read prompts with"
                " read_prompts(), or name the"
                " replies 'completion', 'chosen' and 'rejected', or 'responses'; --columns says which column is what"
                f"{nearest(('prompt', *layout.rest)) if layout.rest else ''}"
            )
        try:
            example = PARSERS[kind](row, conversation, extras)
        except DataError as e:
            if layout.foreign is None:
                raise
            raise DataError(e.problem, field=layout.foreign.field(e.field)) from None
        if conversation:
            return layout.format, example
        return layout.format, naming.rename(example, naming.derived_name(example))

    def prompt(self, row: Any) -> tuple[str, Dialogue]:
        """The row's conversation and prompt, for rows that are prompts only."""
        _, _, row, extras, conversation = self._prepared(row)
        dialogue = fields.said(fields.prompt_messages(row), extras)
        return conversation or naming.opening_name(dialogue), dialogue

    def holds_prompt(self, row: Any) -> bool:
        """True if the row is a prompt without a reply."""
        return self._prepared(row)[1] == "prompts"

    def _prepared(self, row: Any) -> tuple[Layout, str, fields.Row, dict[str, Any], str]:
        """(layout, canonical format, canonical row without nulls, fields of the dialogue, conversation or '')."""
        if not isinstance(row, Mapping):
            raise DataError(f"expected an object with named columns, found {fields.named(row)}")
        if self._columns is not None:
            row = self._columns(row)
        if type(row) is Cells:
            row = typed(row)
        if None in row.values():  # Arrow fills columns that a row lacks
            row = {k: v for k, v in row.items() if v is not None}
        columns = tuple(row)
        layout = self._layouts.get(columns)
        if layout is None:
            layout = self._remember(row, columns)
        for other in layout.others:
            if why := other.sees(row):
                raise DataError(
                    f"this row looks like {other.name!r} ({why}), rows before it like {layout.format!r}: name one with"
                    " format= (--format)"
                )
        kind, meta = layout.format, {k: row[k] for k in layout.rest}
        if layout.foreign is not None:
            kind, row = self._canonical(layout.foreign, row)
        extras = self._extras(row, meta)
        conversation = naming.named_conversation(row, self.options.conversation, self._pattern)
        if "id" in row and str(row["id"]) != conversation:
            meta["id"] = row["id"]
        if meta:
            extras["meta"] = meta
        return layout, kind, row, extras, conversation

    def _canonical(self, foreign: Foreign, row: fields.Row) -> tuple[str, fields.Row]:
        """(format, row) of a row of somebody else's."""
        shared = {k: row[k] for k in row if k in SHARED or k in self._used}
        made = {**shared, **foreign.row(row)}
        if "meta" in row and "meta" in made and isinstance(row["meta"], Mapping):
            made["meta"] = {**row["meta"], **made["meta"]}
        return foreign.reads_as or detected(tuple(made))[0], made

    def _extras(self, row: fields.Row, meta: dict[str, Any]) -> dict[str, Any]:
        """Guardrails and tools of the dialogue; what ``meta`` says goes into ``meta``."""
        extras: dict[str, Any] = {}
        rules = self.options.guardrails or "guardrails"
        if rules in row:
            extras["guardrails"] = fields.rules(row[rules], rules)
        elif self.options.guardrails:
            fields.required(row, rules)
        if "tools" in row:
            extras["tools"] = tools.tools(row["tools"])
        elif "functions" in row:
            extras["tools"] = tools.functions(row["functions"])
        if "meta" in row:
            if not isinstance(row["meta"], Mapping):
                raise DataError(f"expected an object, found {fields.named(row['meta'])}", field="meta")
            meta.update(row["meta"])
        return extras

    def _remember(self, row: fields.Row, columns: tuple[str, ...]) -> Layout:
        """The layout of a set of columns that is new."""
        if len(self._layouts) >= LAYOUTS:
            self._layouts.clear()
        layout = self._layouts[columns] = self._layout(row, columns)
        if self._first is None:
            self._first, self.why = layout, layout.why
        return layout

    def _layout(self, row: fields.Row, columns: tuple[str, ...]) -> Layout:
        """What these columns decide; the format that the file began with stays where its columns are there."""
        free = tuple(c for c in columns if c not in self._used)
        first = self._first.foreign if self._first else None
        if self.options.format is not None:
            name, why = self.options.format, f"{self.options.format}: as format= says"
        elif first is not None and first.needs and set(first.needs) <= set(free):
            name, why = first.name, self.why
        else:
            name, why = recognise(row, free)
        if name in FOREIGN:
            foreign = FOREIGN[name]
            for column in foreign.needs:
                fields.required(row, column)
            known = {*SHARED, *foreign.needs, *foreign.takes, *(columns if "*" in foreign.takes else ())}
            return Layout(name, why, tuple(c for c in free if c not in known), foreign)
        others = () if self.options.format else tuple(f for f in candidates(free) if f.needs)
        return Layout(name, why, _kept(name, columns, free), others=others)


def _kept(name: str, columns: tuple[str, ...], free: tuple[str, ...]) -> tuple[str, ...]:
    """Columns that go to meta. One that looks misspelt is an error."""
    known = {*SHARED, *OWN[name]}
    rest = tuple(c for c in free if c not in known)
    for column in rest:
        if column not in NAMES and (near := fields.hint(str(column), ALL - set(columns), cutoff=0.8)):
            raise DataError(f"unknown column{near}; rename it, or move it into 'meta'", field=str(column))
    return rest
