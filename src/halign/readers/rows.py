"""One row -> one example: which format it has, and what all share (names, guardrails, tools, meta)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from halign.dialogue import RAW, Dialogue, Message
from halign.errors import DataError, HalignError
from halign.examples import Conversation, Demonstration, Example
from halign.readers import completions, fields, messages, pairs, rankings, singles, text

Parse = Callable[[fields.Row, str, Mapping[str, Any]], Example]

PARSERS: dict[str, Parse] = {
    "messages": messages.parse,
    "pairs": pairs.parse,
    "rankings": rankings.parse,
    "singles": singles.parse,
    "completions": completions.parse,
    "text": text.parse,
}
FORMATS = (*PARSERS, "prompts")

SHARED = ("id", "conversation", "guardrails", "tools", "weight", "meta")
"""Columns that every format takes."""
OWN = {
    "messages": ("messages", "turns"),
    "pairs": (
        "prompt",
        "chosen",
        "rejected",
        "preference",
        "chosen_win_rate",
        "rejected_win_rate",
        "violates",
    ),
    "rankings": ("prompt", "responses"),
    "singles": ("prompt", "completion", "response", "label", "score", "attributes", "feedback"),
    "completions": ("prompt", "completion", "response", "attributes", "feedback"),
    "text": ("text",),
    "prompts": ("prompt",),
}
ALL = frozenset(c for own in OWN.values() for c in own) | set(SHARED)
NOT_TEXT = ("images", "image", "videos", "audios")

SHAPES = """the forms are
  {"messages": [...]}                                         a conversation to imitate
  {"messages": [{..., "alternatives": [...]}]}                a conversation with alternatives
  {"prompt": ..., "chosen": ..., "rejected": ...}             a pair
  {"prompt": ..., "responses": [{"content", "rank"|"score"}]} a ranking
  {"prompt": ..., "completion": ..., "label": true}           a rated reply
  {"prompt": ..., "completion": ...}                          a reply to imitate
  {"text": ...}                                               plain text
  {"prompt": ...}                                             a prompt"""


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
    """

    format: str | None = None
    guardrails: str | None = None
    conversation: str | None = None
    conversation_pattern: str | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise HalignError(
                f"no such format: {self.format!r}{fields.hint(self.format, FORMATS)}; {', '.join(FORMATS)}"
            )
        try:
            re.compile(self.conversation_pattern or "")
        except re.error as e:
            raise HalignError(f"conversation_pattern {self.conversation_pattern!r}: {e}") from None


def detect(columns: tuple[str, ...]) -> str:
    """The format that these columns make.

    >>> detect(("id", "prompt", "chosen", "rejected")), detect(("prompt", "response", "label"))
    ('pairs', 'singles')
    """
    has = set(columns)
    for column in NOT_TEXT:
        if column in has:
            raise DataError("only text is supported; drop this column", field=column)
    claims = [
        ("pairs", bool(has & {"chosen", "rejected"})),
        ("rankings", "responses" in has),
        ("messages", "messages" in has),
        ("singles", "label" in has and bool(has & {"prompt", "completion", "response"})),
        ("completions", bool(has & {"completion", "response"})),
        ("prompts", "prompt" in has),
        ("text", "text" in has),
    ]
    made = [name for name, claimed in claims if claimed]
    strong = [name for name in made if name in ("pairs", "rankings", "messages", "singles", "completions")]
    if len(strong) > 1 and strong != ["singles", "completions"]:
        raise DataError(
            f"the columns make more than one format: {' and '.join(strong)}; name one with format="
        )
    if not made:
        near = [h for c in columns if (h := fields.hint(c, ALL - set(SHARED), cutoff=0.75))]
        raise DataError(
            f"the columns {', '.join(columns) or '(none)'} make no known format{near[0] if near else ''};"
            f" {SHAPES}"
        )
    return made[0]


class RowParser:
    """Turns rows into (format, example). What its columns alone decide is found once per set of columns."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self._layouts: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}
        self._pattern = re.compile(options.conversation_pattern) if options.conversation_pattern else None

    def __call__(self, row: Any) -> tuple[str, Example]:
        """The row's format and example.

        Raises:
            DataError: naming the field only.
        """
        name, row, extras, conversation = self.prepare(row)
        if name == "prompts":
            raise DataError(
                "this row is a prompt without a reply: nothing to train on. Read prompts with"
                " read_prompts(), or name the"
                " replies 'completion', 'chosen' and 'rejected', or 'responses'"
            )
        example = PARSERS[name](row, conversation, extras)
        if conversation:
            return name, example
        return name, rename(example, derived_name(example))

    def prompt(self, row: Any) -> tuple[str, Dialogue]:
        """The row's conversation and prompt, for rows that are prompts only."""
        _, row, extras, conversation = self.prepare(row)
        dialogue = fields.said(fields.prompt_messages(row), extras)
        return conversation or opening_name(dialogue), dialogue

    def prepare(self, row: Any) -> tuple[str, fields.Row, dict[str, Any], str]:
        """(format, row without nulls, fields of the dialogue, conversation or '') of one row."""
        if not isinstance(row, Mapping):
            raise DataError(f"expected an object with named columns, found {fields.named(row)}")
        if None in row.values():  # Arrow fills columns that a row lacks
            row = {k: v for k, v in row.items() if v is not None}
        columns = tuple(row)
        layout = self._layouts.get(columns)
        if layout is None:
            layout = self._layouts[columns] = self._layout(columns)
        name, rest = layout
        extras: dict[str, Any] = {}
        rules = self.options.guardrails or "guardrails"
        if rules in row:
            extras["guardrails"] = fields.rules(row[rules], rules)
        elif self.options.guardrails:
            fields.required(row, rules)
        if "tools" in row:
            extras["tools"] = fields.tools(row["tools"])
        meta = {k: row[k] for k in rest}
        if "meta" in row:
            if not isinstance(row["meta"], Mapping):
                raise DataError(f"expected an object, found {fields.named(row['meta'])}", field="meta")
            meta.update(row["meta"])
        conversation = self._conversation(row)
        if "id" in row and str(row["id"]) != conversation:
            meta["id"] = row["id"]
        if meta:
            extras["meta"] = meta
        return name, row, extras, conversation

    def _layout(self, columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """(format, columns that go to meta). One that looks misspelt is an error, not meta."""
        used = {c for c in (self.options.guardrails, self.options.conversation) if c}
        name = self.options.format or detect(tuple(c for c in columns if c not in used))
        known = {*SHARED, *OWN[name]}
        rest = tuple(c for c in columns if c not in known and c not in used)
        for column in rest:
            if column not in ALL and (near := fields.hint(str(column), ALL - set(columns), cutoff=0.8)):
                raise DataError(f"unknown column{near}; rename it, or move it into 'meta'", field=str(column))
        return name, rest

    def _conversation(self, row: fields.Row) -> str:
        """The conversation that the row says it is from; '' if it says nothing."""
        column = self.options.conversation
        if column is None:
            column = "conversation" if "conversation" in row else "id"
            if column not in row:
                if self._pattern:
                    raise DataError("conversation_pattern needs a column 'conversation' or 'id'", field="id")
                return ""
        value = fields.required(row, column)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise DataError(
                f"expected a name, found {'nothing' if value == '' else fields.named(value)}", field=column
            )
        if self._pattern is None:
            return str(value)
        match = self._pattern.search(str(value))
        if match is None:
            raise DataError(
                f"{str(value)!r} does not match conversation_pattern {self._pattern.pattern!r}", field=column
            )
        return match.group(1) if self._pattern.groups else match.group()


def rename(example: Example, conversation: str, id: str | None = None) -> Example:
    """The same example under another conversation; ``id`` is what the row was called, kept in meta."""
    if id is None:
        return replace(example, conversation=conversation)
    if isinstance(example, Demonstration | Conversation):
        d = example.dialogue
        return replace(example, conversation=conversation, dialogue=replace(d, meta={**d.meta, "id": id}))
    p = example.prompt
    return replace(example, conversation=conversation, prompt=replace(p, meta={**p.meta, "id": id}))


def derived_name(example: Example) -> str:
    """The conversation of a row that names none: a hash of the whole dialogue, or of how the prompt opens.

    Prompts cut from one conversation open alike, so they stay together; some that merely open alike join
    them.
    """
    if isinstance(example, Demonstration | Conversation):
        return _hash(example.dialogue.messages, example.dialogue)
    return opening_name(example.prompt)


def opening_name(prompt: Dialogue) -> str:
    """A hash of the prompt up to its first user message (all of it where no user speaks)."""
    users = [i for i, m in enumerate(prompt.messages) if m.role == "user"]
    return _hash(prompt.messages[: users[0] + 1] if users else prompt.messages, prompt)


def _hash(turns: tuple[Message, ...], dialogue: Dialogue) -> str:
    parts = [f"{m.role}\x1f{m.content}" for m in turns]
    text = "\x1e".join([*dialogue.guardrails, *parts])
    return f"{'text' if turns[0].role == RAW else 'talk'}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
