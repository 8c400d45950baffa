"""Files and data sets -> examples. One format per file of this folder; what a row is, its columns and values say.

>>> data = read([{"prompt": "2+2=", "chosen": "4", "rejected": "5"}])
>>> data
<Data: 1 pairs from list>
>>> data[0].chosen.content, data[0].preference
('4', 1.0)
>>> data.why
"it has 'prompt', 'chosen' and 'rejected'"

Formats of other people (``foreign``: ShareGPT, Alpaca, UltraFeedback ...) are recognised too; where two fit, ``format`` has to
say which, and ``columns`` says which column is what where none does.

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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from halign.dialogue import Dialogue
from halign.errors import DataError, HalignError
from halign.examples import Conversation, Demonstration, Example, Preference, Ranking, Rating, prompts
from halign.readers.data import Data
from halign.readers.files import rows_of
from halign.readers.recognise import FORMATS
from halign.readers.rows import Options, RowParser
from halign.readers.sources import BadLine, Source
from halign.readers.streaming import Stream
from halign.readers.trunks import group_turns
from halign.readers.write import RowWriter, to_row, write_jsonl, write_rows

__all__ = [
    "FORMATS",
    "Data",
    "RowWriter",
    "Stream",
    "read",
    "read_prompts",
    "stream",
    "to_row",
    "write_jsonl",
    "write_rows",
]

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
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Data:
    """Read examples from a path, the hub, a ``datasets.Dataset`` or a list of rows (examples are taken as they are).

    Args:
        source: .jsonl, .json, .csv, .tsv (each also .gz, .zst, .bz2, .xz), .parquet, a folder of such files or one that
            ``datasets.save_to_disk`` wrote, ``hub:owner/name[:config][@split]``, a Dataset (streaming ones too), a list.
        format: one of FORMATS; found from the columns and values when left out.
        split: which split, where the source has several.
        skip_bad: leave bad rows out and list them in ``Data.skipped``, instead of stopping at the first.
        guardrails: the column that holds the rules, if it is not called ``guardrails`` (say ``policy``).
        conversation: the column that names the conversation.
        conversation_pattern: a regular expression; its first group (or whole match) in that column is the
            name.
        columns: where known columns are found, ``{"prompt": "question", "chosen": "answers[0].text"}``
            (``halign.readers.columns``); ``guardrails`` and ``conversation`` then name columns as they are afterwards.
        encoding: of text files that are not UTF-8, say ``cp1252``.

    Raises:
        DataError: at the first bad row, with file, line and field; always for a file that is damaged
            or has no rows, and where no format fits or several do.
        HalignError: if there is no such file, format, split or encoding, or ``columns`` names no known column.
    """
    if isinstance(source, Data):
        return source
    if (data := _as_data(source)) is not None:
        return data
    options = Options(format, guardrails, conversation, conversation_pattern, columns)
    return _gathered(Stream(rows_of(source, split, encoding), options, skip_bad=skip_bad), options)


def _gathered(stream: Stream, options: Options) -> Data:
    """All that a stream holds, with what only the whole shows."""
    with _no_collection():
        examples = list(stream)
    if any(isinstance(e, Conversation) for e in examples):
        examples = [_as_conversation(e) for e in examples]
    if options.conversation is None and options.conversation_pattern is None:
        examples = group_turns(examples)
    return Data(examples, source=stream.source, format=stream.format, why=stream.why, skipped=stream.skipped)


def stream(
    source: Any,
    *,
    format: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
    guardrails: str | None = None,
    conversation: str | None = None,
    conversation_pattern: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Stream:
    """The examples that ``read`` gives, one at a time in constant memory; arguments and errors are its own.

    Two things only a whole file shows, so they are left as the rows say: rows cut from one conversation keep their own ids
    (``conversation_pattern`` names it), and a conversation without alternatives in a file that has some is a Demonstration.
    A .json file, one document, is read whole all the same.

    >>> rows = stream({"prompt": "2+2=", "chosen": "4", "rejected": str(i)} for i in (5, 6))
    >>> next(rows).rejected.content, rows.format, len(list(rows))
    ('5', 'pairs', 1)
    """
    options = Options(format, guardrails, conversation, conversation_pattern, columns)
    return Stream(rows_of(source, split, encoding), options, skip_bad=skip_bad)


def read_prompts(
    source: Any,
    *,
    format: str | None = None,
    split: str | None = None,
    skip_bad: bool = False,
    guardrails: str | None = None,
    conversation: str | None = None,
    conversation_pattern: str | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> list[Dialogue]:
    """Prompts to sample from: rows of ``prompt`` only, or the distinct prompts of any other format.

    ``meta["conversation"]`` names the conversation that each belongs to. Arguments and errors are those of
    ``read``; the bad rows that ``skip_bad`` leaves out are not listed.
    """
    options = Options(format, guardrails, conversation, conversation_pattern, columns)
    data = source if isinstance(source, Data) else _as_data(source)
    if data is None:
        rows = rows_of(source, split, encoding)
        kept = list(rows.rows)
        parse = RowParser(options)
        if kept and _holds_prompts(parse, kept):
            found = list(_prompts(parse, kept, rows.name, skip_bad))
        else:
            data = _gathered(Stream(Source(rows.name, iter(kept)), options, skip_bad=skip_bad), options)
    if data is not None:
        found = list({_words(c, d): (c, d) for c, d in prompts(list(data)) if len(d)}.values())
    if not found:
        raise HalignError(f"{rows.name if data is None else data.source}: no prompts in here")
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


def _as_data(source: Any) -> Data | None:
    """A list of examples as data; None for anything else."""
    if isinstance(source, list | tuple) and source and all(isinstance(e, EXAMPLES) for e in source):
        return Data(source)
    return None


def _holds_prompts(parse: RowParser, rows: list[tuple[int, Any]]) -> bool:
    """True if the first good row is a prompt without a reply."""
    for _, row in rows:
        try:
            return parse.holds_prompt(row)
        except DataError:
            continue
    return False


def _prompts(
    parse: RowParser, rows: list[tuple[int, Any]], file: str, skip_bad: bool
) -> Iterator[tuple[str, Dialogue]]:
    """(conversation, prompt) of each row."""
    for line, row in rows:
        try:
            if isinstance(row, BadLine):
                raise DataError(row.problem)
            yield parse.prompt(row)
        except DataError as e:
            if not skip_bad:
                raise DataError(e.problem, file=file, line=line, field=e.field) from None


def _as_conversation(example: Example) -> Example:
    """In a file of conversations, one without alternatives is a conversation too."""
    if not isinstance(example, Demonstration):
        return example
    if example.turns is not None:
        raise HalignError(
            f"conversation {example.conversation!r} has 'turns' in a file of conversations with alternatives"
        )
    return Conversation(example.dialogue, example.conversation, {}, example.weight)
