"""Files and data sets -> examples. One format per file of this folder; what a row is, its columns say.

>>> data = read([{"prompt": "2+2=", "chosen": "4", "rejected": "5"}])
>>> data
<Data: 1 pairs from list>
>>> data[0].chosen.content, data[0].preference
('4', 1.0)

Columns that every format takes: ``id``, ``conversation``, ``guardrails`` (a list of rules), ``tools``,
``weight``, ``meta``. Columns that no format knows are kept in the dialogue's ``meta``, never rendered, never
trained on; one that looks like a misspelt known column is an error. TRL's ``margin`` is such a kept column:
no objective here takes it.

The conversation of a row, which keeps splits apart and clusters error bars, is
1. what ``conversation`` (a column's name) and ``conversation_pattern`` (a regular expression) say, if given;
2. else the column ``conversation``;
3. else the column ``id``; where ids name conversation and turn (``star-1000-4``) and the prompts bear it out
   (``trunks``), without the turn;
4. else a hash of the whole dialogue, or of the prompt up to its first user message.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.examples import Conversation, Demonstration, Example, Preference, Ranking, Rating, prompts
from halign.readers.data import Data
from halign.readers.files import BadLine, rows_of
from halign.readers.rows import FORMATS, Options, RowParser
from halign.readers.trunks import group_turns
from halign.readers.write import RowWriter, to_row, write_jsonl, write_rows

__all__ = ["FORMATS", "Data", "RowWriter", "read", "read_prompts", "to_row", "write_jsonl", "write_rows"]

T = TypeVar("T")
EXAMPLES = (Demonstration, Preference, Ranking, Rating, Conversation)


def read(
    source: Any,
    *,
    format: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
    guardrails: str | None = None,
    conversation: str | None = None,
    conversation_pattern: str | None = None,
) -> Data:
    """Read examples from a path, a ``datasets.Dataset`` or a list of rows (examples are taken as they are).

    Args:
        source: .jsonl, .jsonl.gz, .json, .parquet, a folder that ``datasets.save_to_disk`` wrote, a Dataset,
            a list.
        format: one of FORMATS; found from the columns when left out.
        split: which split, where the source has several.
        skip_bad: leave bad rows out and list them in ``Data.skipped``, instead of stopping at the first.
        guardrails: the column that holds the rules, if it is not called ``guardrails`` (say ``policy``).
        conversation: the column that names the conversation.
        conversation_pattern: a regular expression; its first group (or whole match) in that column is the
            name.

    Raises:
        DataError: at the first bad row, with file, line and field; always for a file that is damaged
            or has no rows.
        HalignError: if there is no such file, format or split.
    """
    if isinstance(source, Data):
        return source
    if isinstance(source, list | tuple) and source and all(isinstance(e, EXAMPLES) for e in source):
        return Data(source)
    options = Options(format, guardrails, conversation, conversation_pattern)
    parse = RowParser(options)
    name, rows = rows_of(source, split)
    skipped: list[DataError] = []
    first: list[Any] = []

    def one(row: Any, line: int) -> Example:
        kind, example = parse(row)
        if not first:
            first.extend((kind, line))
        elif kind != first[0]:
            raise DataError(
                f"this row is of the format {kind!r}, line {first[1]} is {first[0]!r}: a file holds one"
                f" format"
            )
        return example

    with _no_collection():
        examples = list(_each(rows, name, one, skipped if skip_bad else None))
    if not examples:
        raise DataError(
            f"no rows{f' but {len(skipped)} bad ones, the first: {skipped[0]}' if skipped else ''}", file=name
        )
    if any(isinstance(e, Conversation) for e in examples):
        examples = [_as_conversation(e) for e in examples]
    if conversation is None and conversation_pattern is None:
        examples = group_turns(examples)
    return Data(examples, source=name, format=first[0], skipped=skipped)


def read_prompts(
    source: Any,
    *,
    format: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
    guardrails: str | None = None,
    conversation: str | None = None,
    conversation_pattern: str | None = None,
) -> list[Dialogue]:
    """Prompts to sample from: rows of ``prompt`` only, or the distinct prompts of any other format.

    ``meta["conversation"]`` names the conversation that each belongs to. Arguments and errors are those of
    ``read``; the bad rows that ``skip_bad`` leaves out are not listed.
    """
    options = Options(format, guardrails, conversation, conversation_pattern)
    parse = RowParser(options)
    name, rows = rows_of(source, split)
    kept = list(rows)
    only = kept and not isinstance(source, Data) and _holds_prompts(parse, kept)
    if only:
        found = list(_each(iter(kept), name, lambda row, line: parse.prompt(row), [] if skip_bad else None))
    else:
        data = read(
            source,
            format=format,
            split=split,
            skip_bad=skip_bad,
            guardrails=guardrails,
            conversation=conversation,
            conversation_pattern=conversation_pattern,
        )
        found = list({_words(c, d): (c, d) for c, d in prompts(list(data)) if len(d)}.values())
    if not found:
        raise HalignError(f"{name}: no prompts in here")
    return [replace(d, meta={**d.meta, "conversation": c}) for c, d in found]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Halts the cycle collector: walking what has been read again and again takes half of the time."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def _words(conversation: str, prompt: Dialogue) -> tuple[object, ...]:
    """What makes a prompt the same as another."""
    return conversation, prompt.guardrails, tuple((m.role, *m.words) for m in prompt.messages)


def _holds_prompts(parse: RowParser, rows: list[tuple[int, Any]]) -> bool:
    """True if the first good row is a prompt without a reply."""
    for _, row in rows:
        try:
            return parse.prepare(row)[0] == "prompts"
        except DataError:
            continue
    return False


def _each(
    rows: Iterator[tuple[int, Any]],
    file: str,
    parse: Callable[[Any, int], T],
    skipped: list[DataError] | None,
) -> Iterator[T]:
    """What ``parse`` makes of each row; errors get file and line, and are raised, or go to ``skipped``."""
    for line, row in rows:
        try:
            if isinstance(row, BadLine):
                raise DataError(row.problem)
            yield parse(row, line)
        except DataError as e:
            bad = DataError(e.problem, file=file, line=line, field=e.field)
            if skipped is None:
                raise bad from None
            skipped.append(bad)


def _as_conversation(example: Example) -> Example:
    """In a file of conversations, one without alternatives is a conversation too."""
    if not isinstance(example, Demonstration):
        return example
    if example.turns is not None:
        raise HalignError(
            f"conversation {example.conversation!r} has 'turns' in a file of conversations with alternatives"
        )
    return Conversation(example.dialogue, example.conversation, {}, example.weight)
