"""Where a built row comes from: which builder made it, with which settings, of which row of which file.

A built row has a column ``lineage``. What all rows of a file have in common (builder, version, settings, source file) stands
once, in ``FILE.lineage.json`` beside it, and the row names it by its key: written out in each row it would be longer than many
rows are.

    {"step": "5f0c2a9e41b7", "row": 17, "id": "c3", "sha256": "9c1185a5c5e9fc54", "replies": [...], "parents": [...]}

- ``row``: the number of the source row, from 1 (the line of a text file); ``id``: its id, where it has one;
- ``sha256``: the first 16 hexadecimal digits of its JSON's hash, by which ``trace`` sees that it has changed since;
- ``replies``: keys of the cached replies, or ids of the samples, that went into the row; left out where there are none;
- ``parents``: the lineage of the source row, where that was built itself, so that the chain goes back to what nobody built; of a
  row made of several rows, one entry each under ``parents``, and no ``row``.

``expand`` gives the same with builder, version, settings and source written out. Readers keep the column in ``meta``; no model
ever sees it.

>>> step = Step("filter", {"above": 4.5}, file="chats.jsonl", sha256="", version="0.1.0")
>>> derive(step, 17, {"id": "c3", "text": "Hello"})
{'step': '03abd754c00a', 'row': 17, 'id': 'c3', 'sha256': '469cc2bebfccb2b9'}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halign import __version__
from halign.errors import HalignError

COLUMN = "lineage"
LONGEST = 64
"""Steps of a chain that are followed; a longer one can only be a file that claims to come from itself."""

Lineage = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """What the rows of one file have in common that one builder made of one source file.

    Attributes:
        builder: name of the operation.
        settings: all that decides what it makes; JSON-ready.
        file: the source.
        sha256: hash of the source file's bytes, '' where the source is no file.
    """

    builder: str
    settings: Mapping[str, Any]
    file: str
    sha256: str
    version: str = __version__

    @classmethod
    def of(cls, builder: str, settings: Mapping[str, Any], source: str | os.PathLike[str]) -> Step:
        """The step that reads ``source``, whose bytes are hashed now."""
        path = Path(source)
        return cls(builder, settings, str(path.resolve()) if path.exists() else str(source), file_hash(path))

    @property
    def key(self) -> str:
        """What rows call it: it depends on everything but the folder of the file."""
        said = [self.builder, self.version, dict(self.settings), Path(self.file).name, self.sha256]
        return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()[:12]


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes, of a folder its files' names and bytes; '' if there is none."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
        said = [f"{p.relative_to(path)} {file_hash(p)}" for p in files]
        return hashlib.sha256("\n".join(said).encode()).hexdigest()
    return ""


def row_hash(row: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of a row's hash, its own lineage left out."""
    said = {k: v for k, v in row.items() if k != COLUMN}
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def of(row: Mapping[str, Any]) -> Lineage | None:
    """The lineage of a row, as a column or, where the row has been converted, in its ``meta``."""
    meta = row.get("meta")
    found = row.get(COLUMN) or (meta.get(COLUMN) if isinstance(meta, Mapping) else None)
    return dict(found) if isinstance(found, Mapping) else None


def derive(step: Step, number: int, row: Mapping[str, Any], replies: Sequence[str] = ()) -> Lineage:
    """The lineage of a row that ``step`` made of one source row.

    Args:
        number: the source row's number, from 1.
        replies: cache keys or sample ids of what was asked for it.
    """
    made: Lineage = {"step": step.key, "row": number}
    if isinstance(row.get("id"), str | int):
        made["id"] = row["id"]
    made["sha256"] = row_hash(row)
    if replies:
        made["replies"] = list(replies)
    if (before := of(row)) is not None:
        made["parents"] = [before]
    return made


def join(
    step: Step, sources: Iterable[tuple[int, Mapping[str, Any]]], replies: Sequence[str] = ()
) -> Lineage:
    """The lineage of a row that ``step`` made of several source rows (number, row)."""
    made: Lineage = {"step": step.key}
    if replies:
        made["replies"] = list(replies)
    return {**made, "parents": [derive(step, number, row) for number, row in sources]}


# -- the header beside a file ----------------------------------------------------------------------------------


def header_path(file: str | os.PathLike[str]) -> Path:
    """Where the steps of a file's rows are described."""
    path = Path(file)
    return path.with_name(f"{path.name}.lineage.json")


def read_header(file: str | os.PathLike[str]) -> dict[str, Step]:
    """Key -> step, of all that a file's rows name; empty if the file has no header.

    Raises:
        HalignError: if the header cannot be read.
    """
    path = header_path(file)
    if not path.exists():
        return {}
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        return {k: Step(**{**s, "file": _absolute(s["file"], path.parent)}) for k, s in steps.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HalignError(
            f"{path}: not a lineage header ({error}); build {Path(file).name} again, or remove it"
        ) from None


def write_header(
    file: str | os.PathLike[str], steps: Iterable[Step], sources: Iterable[str | os.PathLike[str]]
) -> None:
    """Describe the steps that made a file, and those that made its sources; written whole or not at all."""
    path = header_path(file)
    known: dict[str, Step] = {}
    for source in sources:
        known |= read_header(source)
    known |= {s.key: s for s in steps}
    if not known:
        return
    described = {
        key: {
            "builder": s.builder,
            "version": s.version,
            "settings": dict(s.settings),
            "file": _relative(s.file, path.parent),
            "sha256": s.sha256,
        }
        for key, s in known.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(
        json.dumps({"steps": described}, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8"
    )
    os.replace(beside, path)


def _relative(file: str, folder: Path) -> str:
    """A source in or below the built file's folder is named from there, so that both can be moved together."""
    path, here = Path(file), folder.resolve()
    return str(path.relative_to(here)) if path.is_relative_to(here) else file


def _absolute(file: str, folder: Path) -> str:
    return (
        file if Path(file).is_absolute() or not (folder / file).exists() else str((folder / file).resolve())
    )


# -- the way back ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """One row on the way back from a built row.

    Attributes:
        depth: 0 for the row that was asked for; several with the same depth are parents of one row.
        number: of the row in ``file``, from 1; None where a row was made of several.
        row: the row as it stands there now; None if it is not there.
        state: "as it was", "changed", "not there", "no such file", or "asked for".
        step: what was made of it; None for the row that was asked for.
        file_changed: True if the file's bytes are others than when the step ran.
    """

    depth: int
    file: str
    number: int | None
    row: Mapping[str, Any] | None
    state: str
    step: Step | None = None
    file_changed: bool = False
    replies: tuple[str, ...] = field(default=())


def expand(lineage: Lineage, steps: Mapping[str, Step]) -> Lineage:
    """The lineage with what its keys stand for: builder, version, settings, source, replies, parents.

    Raises:
        HalignError: if a step is not described.
    """
    step = _step(lineage, steps)
    return {
        "builder": step.builder,
        "version": step.version,
        "settings": dict(step.settings),
        "source": {"file": step.file, **{k: lineage[k] for k in ("row", "id", "sha256") if k in lineage}},
        "replies": list(lineage.get("replies", ())),
        "parents": [expand(p, steps) for p in lineage.get("parents", ())],
    }


def trace(
    file: str | os.PathLike[str], number: int, split: str | None = None, encoding: str | None = None
) -> list[Link]:
    """The chain from row ``number`` (from 1) of ``file`` back to what nobody built.

    Args:
        split, encoding: with which ``file`` is read; the encoding of its sources stands in its header.

    Raises:
        HalignError: if there is no such row, or the header that its lineage needs is missing.
    """
    row = row_at(Path(file), number, split, encoding)
    if row is None:
        raise HalignError(f"{file} has no row {number}; rows are counted from 1, as lines are")
    links = [Link(0, str(file), number, row, "asked for")]
    if (mine := of(row)) is not None:
        links += _back(mine, read_header(file), 1, {}, str(file))
    return links


def _back(
    lineage: Lineage, steps: Mapping[str, Step], depth: int, hashes: dict[str, str], file: str
) -> Iterator[Link]:
    if depth > LONGEST:
        raise HalignError(f"{file}: a chain of more than {LONGEST} steps")
    step = _step(lineage, steps, file)
    replies = tuple(map(str, lineage.get("replies", ())))
    if "row" in lineage:
        yield _link(lineage, step, depth, hashes, replies)
    for parent in lineage.get("parents", ()):
        yield from _back(parent, steps, depth + 1 if "row" in lineage else depth, hashes, file)


def _link(lineage: Lineage, step: Step, depth: int, hashes: dict[str, str], replies: tuple[str, ...]) -> Link:
    path, number = Path(step.file), int(lineage["row"])
    if not path.exists():
        return Link(depth, step.file, number, None, "no such file", step, True, replies)
    if step.file not in hashes:
        hashes[step.file] = file_hash(path)
    row = row_at(path, number, encoding=step.settings.get("encoding"))
    same = row is not None and row_hash(row) == lineage.get("sha256")
    state = "not there" if row is None else "as it was" if same else "changed"
    return Link(depth, step.file, number, row, state, step, hashes[step.file] != step.sha256, replies)


def _step(lineage: Lineage, steps: Mapping[str, Step], file: str = "") -> Step:
    key = str(lineage.get("step"))
    if key not in steps:
        where = header_path(file) if file else "its FILE.lineage.json"
        raise HalignError(
            f"lineage names the step {key}, which {where} does not describe; keep that file beside the data"
        )
    return steps[key]


def row_at(
    file: Path, number: int, split: str | None = None, encoding: str | None = None
) -> Mapping[str, Any] | None:
    """The row with this number, None if there is none."""
    from halign.readers.files import rows_of

    for n, row in rows_of(file, split, encoding).rows:
        if n == number:
            return row if isinstance(row, Mapping) else None
        if n > number:
            return None
    return None
