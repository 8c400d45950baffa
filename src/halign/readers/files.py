"""Where rows come from: JSONL (gzipped or not), JSON, parquet, saved folders, data sets, lists.

Each source yields (line, row): the line of a text file, else the number of the row, from 1.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from halign.errors import DataError, HalignError
from halign.readers.fields import hint

Rows = Iterator[tuple[int, Any]]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")


class BadLine:
    """A line that is no JSON: yielded in place of a row, so that ``skip_bad`` can go on with the next."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


def rows_of(source: Any, split: str | None = None) -> tuple[str, Rows]:
    """(name of the source, its rows).

    Raises:
        HalignError: if there is no such file, its suffix says nothing, or the split is missing or not there.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return str(path), _path_rows(path, split)
    if isinstance(source, Mapping):
        return "data set", rows_of(_pick(source, split, "this data set"), None)[1]
    if hasattr(source, "column_names") or isinstance(source, Iterable):
        if split is not None:
            raise HalignError(f"split={split!r} has no effect: the source is one split already")
        return type(source).__name__, enumerate(iter(source), 1)
    raise HalignError(
        f"cannot read a {type(source).__name__}: give a path, a datasets.Dataset or a list of dicts"
    )


def _path_rows(path: Path, split: str | None) -> Rows:
    if path.is_dir():
        return _saved(path, split)
    if not path.exists():
        raise HalignError(_no_such(path))
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind == ".json":
        return _json(path, split)
    if split is not None:
        raise HalignError(f"split={split!r} has no effect: {path} has no splits")
    if kind in (".jsonl", ".ndjson"):
        return _jsonl(path)
    if kind == ".parquet":
        return _parquet(path)
    raise HalignError(
        f"{path}: cannot tell the kind of file from {kind!r}; {', '.join(SUFFIXES)}, the first three also .gz"
    )


def _no_such(path: Path) -> str:
    """A message for a path that is not there: what lies nearest to it."""
    if not path.parent.is_dir():
        return f"{path}: no such file, and no folder {path.parent}"
    return f"{path}: no such file{hint(path.name, [p.name for p in path.parent.iterdir()])}"


def open_binary(path: Path) -> Any:
    """The file's bytes, unpacked if they are gzip, whatever the name says."""
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    return gzip.open(file) if magic == b"\x1f\x8b" else file


def _jsonl(path: Path) -> Rows:
    """Rows of a JSONL file, one at a time; blank lines count as lines but are no rows."""
    number = 0
    with open_binary(path) as file:
        lines = iter(file)
        while True:
            try:
                line = next(lines, None)
            except (EOFError, OSError, zlib.error) as e:
                problem = f"the gzip file is cut short or damaged after this line ({e}); fetch it again"
                raise DataError(problem, file=str(path), line=number) from None
            if line is None:
                return
            number += 1
            if not line.isspace():
                yield number, _loads(line)


def _loads(line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as e:
        return BadLine(f"not UTF-8 at byte {e.start}; save the file as UTF-8")
    except json.JSONDecodeError as e:
        return BadLine(f"not JSON: {e.msg} at column {e.colno}; each line holds one JSON object")


def _json(path: Path, split: str | None) -> Rows:
    """Rows of a JSON file: a list of rows, an object of splits, or (as some name it) JSON lines."""
    try:
        with open_binary(path) as file:
            text = file.read().decode("utf-8-sig")
    except (EOFError, OSError, zlib.error) as e:
        raise DataError(f"the file is cut short or damaged ({e}); fetch it again", file=str(path)) from None
    except UnicodeDecodeError as e:
        raise DataError(f"not UTF-8 at byte {e.start}; save the file as UTF-8", file=str(path)) from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as e:
        if split is None and e.msg == "Extra data":
            return _jsonl(path)
        raise DataError(f"not JSON: {e.msg} at column {e.colno}", file=str(path), line=e.lineno) from None
    if (
        isinstance(value, dict)
        and value
        and all(isinstance(v, list) for v in value.values())
        and "messages" not in value
    ):
        value = _pick(value, split, str(path))
    elif split is not None:
        raise HalignError(f"split={split!r} has no effect: {path} has no splits")
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise DataError("expected a list of rows", file=str(path))
    return enumerate(value, 1)


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        table = pq.ParquetFile(path)
    except (ArrowException, OSError) as e:
        raise DataError(f"not a whole parquet file ({e}); fetch it again", file=str(path)) from None
    return enumerate((row for batch in table.iter_batches() for row in batch.to_pylist()), 1)


def _saved(path: Path, split: str | None) -> Rows:
    """Rows of a folder that ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote."""
    if not any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json", "state.json")):
        found = sorted(p.name for p in path.iterdir() if any(s in p.suffixes for s in SUFFIXES))
        said = f"; name one of its files: {', '.join(found[:5])}" if found else ""
        raise HalignError(f"{path}: a folder, but not one that datasets.save_to_disk wrote{said}")
    import datasets

    data = datasets.load_from_disk(str(path))
    return rows_of(data, split)[1]


def _pick(splits: Mapping[str, Any], split: str | None, where: str) -> Any:
    """One split of several; the only one needs no name."""
    names = ", ".join(splits)
    if split is None:
        if len(splits) == 1:
            return next(iter(splits.values()))
        raise HalignError(f"{where} has the splits {names}: say which with split=")
    if split not in splits:
        raise HalignError(f"{where} has no split {split!r}{hint(split, splits)}; it has {names}")
    return splits[split]
