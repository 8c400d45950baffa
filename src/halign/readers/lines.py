"""Rows of JSON: JSON lines, or one document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from halign.errors import DataError, HalignError
from halign.readers import characters
from halign.readers.sources import DAMAGED, BadLine, Rows, binary_lines, damaged, open_binary, text_lines
from halign.readers.splits import pick

DECODE = json.JSONDecoder().decode
COLUMNS = {"messages", "conversations", "prompt", "chosen", "rejected", "responses"}
"""Keys that tell one row whose values are all lists from an object of splits."""


def jsonl(path: Path, encoding: str | None) -> Rows:
    """Rows of a JSONL file, one at a time; blank lines count as lines but are no rows."""
    if encoding is not None:
        for number, text in text_lines(path, encoding):
            if not text.isspace():
                yield number, _row(text, text.encode("utf-8", "surrogatepass"))
        return
    for number, line in binary_lines(path):
        if line.isspace():
            continue
        try:
            yield number, _row(line.decode(), line)
        except UnicodeDecodeError as e:
            yield number, BadLine(characters.not_utf8(line, e.start))


def _row(text: str, line: bytes) -> Any:
    """The row of a line, or what is wrong with it."""
    try:
        row = DECODE(text)
    except json.JSONDecodeError as e:
        return BadLine(f"{_not_json(e)}; each line holds one JSON object")
    except RecursionError:
        return BadLine("not a row: its JSON is nested too deep")
    if b"\\u" in line and characters.ESCAPES.search(line) and (said := characters.problem(row)):
        return BadLine(said)
    return row


def _not_json(error: json.JSONDecodeError) -> str:
    """What is wrong and where; some of the decoder's messages end in "at", others do not."""
    return f"not JSON: {error.msg.removesuffix(' at')} at column {error.colno}"


def document(path: Path, split: str | None, encoding: str | None) -> Rows:
    """Rows of a JSON file: a list of rows, an object of splits, or (as some name it) JSON lines."""
    text = _text(path, encoding)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        if split is None and e.msg == "Extra data":
            return jsonl(path, encoding)
        raise DataError(_not_json(e), file=str(path), line=e.lineno) from None
    if (
        isinstance(value, dict)
        and value
        and all(isinstance(v, list) for v in value.values())
        and not value.keys() & COLUMNS
    ):
        value = pick(value, split, str(path))
    elif split is not None:
        raise HalignError(f"split={split!r} has no effect: {path} has no splits")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise DataError("expected a list of rows", file=str(path))
    suspect = characters.ESCAPES.search(text.encode("utf-8", "surrogatepass")) is not None
    return ((i, _checked(row) if suspect else row) for i, row in enumerate(value, 1))


def _checked(row: Any) -> Any:
    """The row, or what is wrong with its characters."""
    said = characters.problem(row)
    return BadLine(said) if said else row


def _text(path: Path, encoding: str | None) -> str:
    """The whole file."""
    try:
        with open_binary(path) as file:
            content = file.read()
    except DAMAGED as e:
        raise damaged(path, e) from None
    name = encoding or characters.marked(content)
    if encoding is None and name is not None:
        raise DataError(
            f"{name.upper()}, says its byte-order mark; read it with --encoding {name} (encoding= in Python)",
            file=str(path),
        )
    try:
        return str(content.decode(encoding or "utf-8")).removeprefix("\ufeff")
    except UnicodeDecodeError as e:
        if encoding is not None:
            raise DataError(f"not {encoding} ({e}); name another --encoding", file=str(path)) from None
        start = content.rfind(b"\n", 0, e.start) + 1
        line = content[start : content.find(b"\n", e.start) % (len(content) + 1)]
        raise DataError(
            characters.not_utf8(line, e.start - start),
            file=str(path),
            line=content.count(b"\n", 0, e.start) + 1,
        ) from None
