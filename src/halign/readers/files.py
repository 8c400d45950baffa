"""Where rows come from: JSONL, JSON, CSV, parquet, folders, the hub, data sets, lists."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from halign.errors import DataError, HalignError
from halign.readers import characters, lines, splits, tables
from halign.readers.fields import hint
from halign.readers.sources import PACKED, Rows, Source

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
TEXT = SUFFIXES[:-1]
"""Those that have an encoding, and may be packed."""
SAVED = ("dataset_info.json", "dataset_dict.json", "state.json")
HUB = re.compile(r"hub:([^:@]+)(?::([^@]+))?(?:@(.+))?")


def rows_of(source: Any, split: str | None = None, encoding: str | None = None) -> Source:
    """The rows of a source; nothing is read but what tells how to.

    Args:
        split: which split, where the source has several.
        encoding: of text files; None is UTF-8.

    Raises:
        HalignError: if there is no such file, its suffix says nothing, the split is missing or not there, or the encoding has
            no effect.
    """
    encoding = characters.known(encoding)
    if isinstance(source, str | os.PathLike):
        if str(source).startswith("hub:"):
            _no_encoding(encoding, str(source))
            return _hub(str(source), split)
        return _path(Path(source), split, encoding)
    _no_encoding(encoding, f"a {type(source).__name__}")
    if isinstance(source, Mapping):
        return Source("data set", rows_of(splits.pick(source, split, "this data set")).rows)
    if hasattr(source, "column_names") or isinstance(source, Iterable):
        if split is not None:
            raise HalignError(f"split={split!r} has no effect: the source is one split already")
        return Source(type(source).__name__, enumerate(iter(source), 1))
    raise HalignError(
        f"cannot read a {type(source).__name__}: give a path, hub:owner/name, a datasets.Dataset or a list of dicts"
    )


def kind_of(path: Path) -> str:
    """The suffix that says what a file holds: ``.jsonl`` of ``a.jsonl.gz``."""
    return path.with_suffix("").suffix if path.suffix in PACKED else path.suffix


def _path(path: Path, split: str | None, encoding: str | None) -> Source:
    if path.is_dir():
        return _folder(path, split, encoding)
    if not path.exists():
        raise HalignError(_no_such(path))
    kind, name = kind_of(path), str(path)
    if kind not in SUFFIXES:
        raise HalignError(
            f"{path}: cannot tell the kind of file from {kind!r}; {', '.join(SUFFIXES)}, all but the last also"
            f" {', '.join(PACKED)}"
        )
    if kind not in TEXT:
        _no_encoding(encoding, name)
    if kind == ".json":
        return Source(name, lines.document(path, split, encoding))
    if split is not None:
        raise HalignError(f"split={split!r} has no effect: {path} has no splits")
    if kind in (".csv", ".tsv"):
        rows, note = tables.table(path, encoding, tabs=kind == ".tsv")
        return Source(name, rows, note=note)
    return Source(name, tables.parquet(path) if kind == ".parquet" else lines.jsonl(path, encoding))


def _no_encoding(encoding: str | None, where: str) -> None:
    if encoding is not None:
        raise HalignError(f"encoding={encoding!r} (--encoding) has no effect: {where} is no text file")


def _no_such(path: Path) -> str:
    """A message for a path that is not there: what lies nearest to it."""
    if not path.parent.is_dir():
        return f"{path}: no such file, and no folder {path.parent}"
    return f"{path}: no such file{hint(path.name, [p.name for p in path.parent.iterdir()])}"


def _folder(path: Path, split: str | None, encoding: str | None) -> Source:
    """Rows of a folder that ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk`` wrote, or of the files in it."""
    if any((path / name).exists() for name in SAVED):
        import datasets

        _no_encoding(encoding, str(path))
        saved = datasets.load_from_disk(str(path))
        return Source(str(path), rows_of(saved, split).rows)
    found = [p for p in path.iterdir() if p.is_file() and p.name[0] not in "._" and kind_of(p) in SUFFIXES]
    if not found:
        raise HalignError(f"{path}: no files to read in this folder; {', '.join(SUFFIXES)}")
    if len(kinds := sorted({kind_of(p) for p in found})) > 1:
        some = ", ".join(sorted(p.name for p in found)[:5])
        raise HalignError(
            f"{path}: a folder with files of several kinds ({', '.join(kinds)}); name one of its files: {some}"
        )
    parts = splits.of_files(found)
    chosen = splits.pick({name or "(no split)": files for name, files in parts.items()}, split, str(path))
    source = Source(str(path), note=f"{len(chosen):,} file{'s' * (len(chosen) > 1)}")
    source.rows = _files(source, chosen, encoding)
    return source


def _files(source: Source, paths: list[Path], encoding: str | None) -> Rows:
    """Rows of files one after the other; ``source.file`` says which."""
    for path in paths:
        inner = _path(path, None, encoding)
        source.file = inner.name
        yield from inner.rows


def _hub(address: str, split: str | None) -> Source:
    """Rows of ``hub:owner/name[:config][@split]``, streamed."""
    match = HUB.fullmatch(address)
    if match is None:
        raise HalignError(
            f"{address}: expected hub:owner/name, hub:owner/name:config or hub:owner/name@split"
        )
    name, config, part = match.groups()
    if part is not None and split not in (None, part):
        raise HalignError(f"{address}: split={split!r} says another split")
    import datasets

    try:
        data = datasets.load_dataset(name, config, split=part or split, streaming=True)
    except Exception as e:
        raise HalignError(
            f"{address}: cannot be read from the hub ({type(e).__name__}: {str(e).strip().splitlines()[0][:300]});"
            " is there a network, and do name, configuration and split exist? Files fetched elsewhere are read from"
            " their path"
        ) from None
    rows = rows_of(data).rows if isinstance(data, Mapping) else enumerate(data, 1)
    return Source(address, _streamed(rows, address))


def _streamed(rows: Rows, address: str) -> Iterator[tuple[int, Any]]:
    """The rows of a stream; what breaks it is said with the row."""
    number = 0
    while True:
        try:
            row = next(rows, None)
        except (OSError, ValueError, RuntimeError) as e:
            raise DataError(
                f"the stream broke after this row ({type(e).__name__}: {e}); read again",
                file=address,
                line=number,
            ) from None
        if row is None:
            return
        number = row[0]
        yield row
