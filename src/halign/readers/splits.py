"""Splits: which part of a source is read, and which files of a folder are one part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.readers.fields import hint

NAMES = {"dev": "validation", "val": "validation", "valid": "validation", "eval": "validation"}
SPLIT = re.compile(r"(?:^|[-_.])(train|test|validation|valid|val|dev|eval)(?=$|[-_.])", re.IGNORECASE)


def pick(splits: Mapping[str, Any], split: str | None, where: str) -> Any:
    """One split of several; the only one needs no name.

    Raises:
        HalignError: if it has to be named, or is not there.
    """
    names = ", ".join(splits)
    if split is None:
        if len(splits) == 1:
            return next(iter(splits.values()))
        raise HalignError(f"{where} has the splits {names}: say which with split= (--split)")
    if split not in splits:
        raise HalignError(f"{where} has no split {split!r}{hint(split, splits)}; it has {names}")
    return splits[split]


def of_files(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Files by the split that their names say: ``train-00000-of-00002.parquet``; '' for those that say none.

    >>> of_files([Path("b_train.jsonl"), Path("a_train.jsonl"), Path("dev.jsonl")])
    {'train': [PosixPath('a_train.jsonl'), PosixPath('b_train.jsonl')], 'validation': [PosixPath('dev.jsonl')]}
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        said = SPLIT.search(path.name.split(".")[0])
        name = said[1].lower() if said else ""
        found.setdefault(NAMES.get(name, "validation" if name.startswith("valid") else name), []).append(path)
    return found
