"""One file in parts, such that no conversation stands in two of them.

Conversations are taken in a seeded random order, and each goes to the part that is furthest below its share of the rows; so
shares are met to within one conversation. With a column to stratify by, that is done among the conversations of each value. On
request, conversations whose prompts are the same or nearly so are kept together, as if they were one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halign import lineage
from halign.curation.dedupe import gather, links
from halign.curation.minhash import NEAR
from halign.curation.output import built
from halign.curation.source import Row, RowSource, Watch, unwatched
from halign.errors import HalignError
from halign.readers import RowWriter


@dataclass(frozen=True)
class Parts:
    """What was written.

    Attributes:
        rows, conversations: of each part.
        strata: part -> value of the column -> rows.
        joined: conversations that were put to another because a prompt of theirs is like one of its prompts.
    """

    rows: dict[str, int]
    conversations: dict[str, int]
    strata: dict[str, Counter[str]]
    joined: int


def split(
    source: RowSource,
    folder: Path,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    stratify: str | None = None,
    together: bool = False,
    threshold: float = NEAR,
    watch: Watch[Row] = unwatched,
) -> Parts:
    """Write ``folder/PART.jsonl`` for every part; the folder appears whole or not at all.

    Args:
        shares: part -> its share of the rows; they sum to 1.
        stratify: a column (or entry of ``meta``) whose values are to be spread over the parts alike.
        together: conversations with the same or nearly the same prompts go to the same part.
        threshold: similarity from which they are nearly the same, as in ``dedupe``.

    Raises:
        HalignError: shares that do not sum to 1, fewer conversations than parts, a folder that is there, a missing column.
    """
    _check(shares, folder)
    name_of = source.conversations(watch)
    names: dict[str, int] = {}
    of_row, strata = [], []
    for row in watch(source, "conversations"):
        of_row.append(names.setdefault(name_of(row.conversation), len(names)))
        strata.append(_value(row, stratify, source) if stratify else "")
    groups = np.array(of_row)
    joined = 0
    if together:
        groups = _together(source, groups, threshold, watch)
        joined = len(names) - len(np.unique(groups))
    part_of = _allot(groups, strata, shares, seed)
    settings: dict[str, Any] = {
        "shares": dict(shares),
        "seed": seed,
        "stratify": stratify,
        "together": together,
    }
    step = lineage.Step.of(
        "split",
        {**settings, **({"threshold": threshold} if together else {}), **source.settings},
        source.file,
    )
    _write(source, folder, list(shares), part_of[groups], step, watch)
    return _parts(list(shares), part_of[groups], np.array(of_row), strata, joined)


def _check(shares: Mapping[str, float], folder: Path) -> None:
    if not shares or any(not 0 < s <= 1 for s in shares.values()) or abs(sum(shares.values()) - 1) > 1e-6:
        said = ", ".join(f"{k}={v:g}" for k, v in shares.items())
        raise HalignError(f"shares {said or '(none)'}: each has to be above 0, and all to sum to 1")
    if bad := [name for name in shares if not name.replace("-", "").replace("_", "").isalnum()]:
        raise HalignError(f"shares: {bad[0]!r} is no name for a file; letters, digits, - and _ are")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise HalignError(f"{folder} exists and is not empty; name another folder")


def _value(row: Row, column: str, source: RowSource) -> str:
    value = row.row.get(column, row.dialogue.meta.get(column))
    if value is None:
        has = ", ".join(sorted({*row.row, *row.dialogue.meta}))
        raise HalignError(
            f"{source.file}:{row.number}: no column {column!r} to stratify by; the row has {has}"
        )
    return str(value)


def _together(source: RowSource, groups: np.ndarray, threshold: float, watch: Watch[Row]) -> np.ndarray:
    """Groups joined wherever a prompt of one is like a prompt of the other."""
    up = list(range(int(groups.max()) + 1))

    def top(i: int) -> int:
        while up[i] != i:
            up[i] = i = up[up[i]]
        return i

    with tempfile.TemporaryDirectory(prefix="halign-split-") as scratch:
        texts = gather(source, "prompt", threshold, (), Path(scratch), watch)
        for a, b in links(texts, threshold):
            x, y = top(int(groups[a])), top(int(groups[b]))
            up[max(x, y)] = min(x, y)
    return np.array([top(int(g)) for g in groups])


def _allot(groups: np.ndarray, strata: list[str], shares: Mapping[str, float], seed: int) -> np.ndarray:
    """Group -> index of its part; a group belongs to the stratum of its first row."""
    sizes = np.bincount(groups)
    first: dict[int, int] = {}
    for index, group in enumerate(groups.tolist()):
        first.setdefault(group, index)
    if len(first) < len(shares):
        raise HalignError(
            f"{len(first)} conversations cannot be divided into {len(shares)} parts; ask for fewer parts"
        )
    by_stratum: dict[str, list[int]] = defaultdict(list)
    for group, index in first.items():
        by_stratum[strata[index]].append(group)
    wanted, part_of = np.array(list(shares.values())), np.full(len(sizes), -1)
    overall = np.zeros(len(shares))
    rng = np.random.default_rng(seed)
    for _, members in sorted(by_stratum.items()):
        total = sizes[members].sum()
        held = np.zeros(len(shares))
        for group in rng.permutation(members):
            lacking = np.round(wanted * total - held, 9)
            ties = np.flatnonzero(lacking == lacking.max())
            part = ties[np.argmin((overall / wanted)[ties])]
            part_of[group] = part
            held[part] += sizes[group]
            overall[part] += sizes[group]
    return part_of


def _write(
    source: RowSource,
    folder: Path,
    names: list[str],
    parts: np.ndarray,
    step: lineage.Step,
    watch: Watch[Row],
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        files = [RowWriter(beside / f"{name}.jsonl") for name in names]
        for file in files:
            file.__enter__()
        error: type[BaseException] | None = BaseException
        try:
            for part, row in zip(parts.tolist(), watch(source, "writing"), strict=True):
                files[part].write(built(row, step, {}))
            error = None
        finally:
            for file in files:
                file.__exit__(error)
        os.chmod(beside, 0o755)
        for name in names:
            lineage.write_header(beside / f"{name}.jsonl", [step], [source.file])
        if folder.exists():
            folder.rmdir()
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _parts(
    names: list[str], part: np.ndarray, conversation: np.ndarray, strata: list[str], joined: int
) -> Parts:
    rows = {n: int((part == i).sum()) for i, n in enumerate(names)}
    talks = {n: len(np.unique(conversation[part == i])) for i, n in enumerate(names)}
    spread = {
        n: Counter(s for s, p in zip(strata, part.tolist(), strict=True) if p == i and s)
        for i, n in enumerate(names)
    }
    return Parts(rows, talks, spread, joined)
