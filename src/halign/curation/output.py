"""What an operation writes: the rows it keeps, each with its lineage, and on request those it drops, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from halign import lineage
from halign.curation.source import Row
from halign.errors import HalignError
from halign.readers import RowWriter


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one row.

    Attributes:
        add: columns that are added to it.
        why: the kind of reason for which it is dropped, by which reasons are counted; '' if it is kept.
        details: what more is known of that reason.
        replies: what was asked for it (cache keys), for the lineage.
    """

    row: Row
    why: str = ""
    add: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    replies: tuple[str, ...] = ()


@dataclass
class Outcome:
    """How many rows were read and kept, and how many were dropped for which reason."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def dropped_path(output: Path) -> Path:
    """Where dropped rows go: ``a.jsonl.gz`` -> ``a.dropped.jsonl.gz``.

    >>> dropped_path(Path("a.jsonl")).name
    'a.dropped.jsonl'
    """
    stem = output.name[: output.name.rindex(".jsonl")]
    return output.with_name(f"{stem}.dropped{output.name[len(stem) :]}")


def built(
    row: Row, step: lineage.Step, add: Mapping[str, Any], replies: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The row as it is written: its own columns, those added, and where it comes from."""
    made = {**row.row, **add, lineage.COLUMN: lineage.derive(step, row.number, row.row, replies)}
    if isinstance(meta := made.get("meta"), Mapping) and lineage.COLUMN in meta:
        made["meta"] = {k: v for k, v in meta.items() if k != lineage.COLUMN}
    return made


def write_decided(
    decided: Iterable[Decision], output: Path, step: lineage.Step, *, dropped: bool = False
) -> Outcome:
    """Write what is kept to ``output``, and with ``dropped`` the rest beside it; all or nothing.

    A dropped row has a column ``dropped``: {"why", and what else is known}.

    Raises:
        HalignError: if nothing is kept; what stood at ``output`` is left as it was.
    """
    outcome = Outcome()
    with ExitStack() as stack:
        file = stack.enter_context(RowWriter(output))
        rest = stack.enter_context(RowWriter(dropped_path(output))) if dropped else None
        for d in decided:
            outcome.read += 1
            if not d.why:
                file.write(built(d.row, step, d.add, d.replies))
                continue
            outcome.dropped[d.why] += 1
            if rest is not None:
                about = {"dropped": {"why": d.why, **d.details}}
                rest.write(built(d.row, step, {**d.add, **about}, d.replies))
        outcome.kept = file.count
        if not outcome.kept:
            said = "; ".join(f"{n:,} {why}" for why, n in outcome.dropped.most_common(5))
            raise HalignError(
                f"nothing would be left of {outcome.read:,} rows, so nothing was written: {said}"
            )
        lineage.write_header(output, [step], [step.file])
        if dropped:
            lineage.write_header(dropped_path(output), [step], [step.file])
    return outcome
