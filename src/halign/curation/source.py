"""A file of rows, read one by one as often as an operation needs to, each with what it says."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from halign.checks import dialogue_of, replies_of
from halign.dialogue import RAW, Dialogue, Message
from halign.errors import DataError, HalignError
from halign.examples import Conversation, Demonstration, Example
from halign.readers.cells import typed
from halign.readers.files import rows_of
from halign.readers.rows import Options, RowParser
from halign.readers.sources import BadLine, Cells
from halign.readers.trunks import Trunks, trunk

T = TypeVar("T")
Watch = Callable[[Iterable[T], str], Iterable[T]]
"""Shows how far rows have come: (rows, what is done with them) -> the same rows."""

By = Literal["prompt", "response", "dialogue"]


def unwatched(rows: Iterable[T], name: str) -> Iterable[T]:
    """Shows nothing."""
    return rows


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes:
        number: from 1; the line of a text file.
        row: as it stands in the file.
        example: what it says; None for a prompt without a reply.
        prompt: of a prompt without a reply.
        conversation: the one it is from, before rows of one conversation are recognised by their names.
    """

    number: int
    row: Mapping[str, Any]
    example: Example | None
    prompt: Dialogue | None
    conversation: str

    @property
    def dialogue(self) -> Dialogue:
        """The conversation, or the prompt."""
        return dialogue_of(self.example) if self.example is not None else self.prompt or Dialogue(())

    @property
    def replies(self) -> list[Message]:
        """What the assistant says: every agent turn of a conversation; of judged replies the best one only."""
        if self.example is None:
            return []
        replies = replies_of(self.example)
        if isinstance(self.example, Conversation):
            return [m for m in self.example.dialogue.messages if m.role == "assistant"]
        return replies if isinstance(self.example, Demonstration) else replies[:1]

    def text(self, by: By) -> str:
        """The prompt (of a conversation: all but the assistant's turns), the response, or all of it."""
        if by == "response":
            return "\n".join(m.content for m in self.replies)
        whole = self.example is None or isinstance(self.example, Demonstration | Conversation)
        turns = self.dialogue.messages
        if by == "prompt" and self.example is not None and whole:
            turns = _given(turns, self.replies)
        said = [m.content for m in turns]
        return "\n".join(said if by == "prompt" or whole else said + [m.content for m in self.replies])


def _given(turns: tuple[Message, ...], replies: list[Message]) -> tuple[Message, ...]:
    """The turns that are no reply; of raw text, which is one turn, all of it."""
    left = tuple(m for m in turns if m.role not in ("assistant", RAW) or m not in replies)
    return left or turns


class RowSource:
    """A file to be read, with the options that its columns need.

    Args:
        file: path of a file, or whatever else ``halign.readers.read`` takes.
        skip_bad: leave bad rows out; they are listed in ``skipped`` by the first reading.
        columns: known name -> where its value is found, for columns of other names.
        encoding: of a text file that is not UTF-8.

    Raises:
        HalignError: while it is read: no such file, or a bad row.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        *,
        format: str | None = None,
        split: str | None = None,
        skip_bad: bool = False,
        guardrails: str | None = None,
        conversation: str | None = None,
        conversation_pattern: str | None = None,
        columns: Mapping[str, str] | None = None,
        encoding: str | None = None,
    ) -> None:
        self.file, self.split, self.skip_bad, self.encoding = file, split, skip_bad, encoding
        self.options = Options(format, guardrails, conversation, conversation_pattern, columns)
        self.named = conversation is not None or conversation_pattern is not None
        self.skipped: list[DataError] = []
        self.format = ""

    @property
    def settings(self) -> dict[str, Any]:
        """The options that were given, for the lineage."""
        given = {**vars(self.options), "split": self.split, "skip_bad": self.skip_bad or None}
        given |= {"encoding": self.encoding}
        return {k: v for k, v in given.items() if v is not None}

    def __iter__(self) -> Iterator[Row]:
        """The good rows, in order.

        Raises:
            DataError: at the first bad row, unless they are skipped; rows of two formats.
        """
        parse = RowParser(self.options)
        source = rows_of(self.file, self.split, self.encoding)
        self.skipped = []
        kind = ""
        for number, row in source.rows:
            try:
                if isinstance(row, BadLine):
                    raise DataError(row.problem)
                found, one = _parsed(parse, number, row, kind)
                if kind and found != kind:
                    raise DataError(f"this row is of the format {found!r}, the first is {kind!r}")
                kind = self.format = found
                yield one
            except DataError as e:
                bad = DataError(e.problem, file=source.file, line=number, field=e.field)
                if not self.skip_bad:
                    raise bad from None
                self.skipped.append(bad)
        if not kind:
            raise DataError(
                f"no rows{f' but bad ones, the first: {self.skipped[0]}' if self.skipped else ''}",
                file=source.name,
            )

    def conversations(self, watch: Watch[Row] = unwatched) -> Callable[[str], str]:
        """A row's name -> its conversation: rows named by conversation and turn are recognised, as ``read`` does.

        Reads the file as far as it takes to know.
        """
        if self.named:
            return str
        trunks = Trunks()
        for row in watch(self, "conversations"):
            if row.example is None or not trunks.add(row.example):
                return str
        return trunk if trunks.found else str


def _parsed(parse: RowParser, number: int, row: Any, kind: str) -> tuple[str, Row]:
    """(format, row); ``kind`` is the format of those before it, '' for the first."""
    if type(row) is Cells:
        row = typed(row)
    if kind in ("", "prompts") and parse.holds_prompt(row):
        name, prompt = parse.prompt(row)
        return "prompts", Row(number, row, None, prompt, name)
    found, example = parse(row)
    return found, Row(number, row, example, None, example.conversation)


def check_output(output: str | os.PathLike[str], overwrite: bool, *sources: str | os.PathLike[str]) -> None:
    """Refuses a place that cannot be written, before anything is read.

    Raises:
        HalignError: the suffix, a file that stands there, or one that is read.
    """
    name = os.fspath(output)
    if not name.endswith((".jsonl", ".jsonl.gz")):
        raise HalignError(f"output {name}: the name has to end in .jsonl or .jsonl.gz")
    if any(os.path.exists(name) and os.path.exists(s) and os.path.samefile(name, s) for s in sources):
        raise HalignError(f"output {name} is read as well; name another file")
    if os.path.exists(name) and not overwrite:
        raise HalignError(f"{name} exists; replace it with --overwrite, or name another output")
