"""Several files in one, in given proportions: counts exact, draws seeded, sources evenly interleaved.

Of each source rows are drawn without replacement, and keep their order. Files are read three times (to count, for
names, to write); 16 bytes a row are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from halign import lineage
from halign.curation.output import built
from halign.curation.sampling import apportion, interleaved, shares, times_drawn
from halign.curation.source import Row, RowSource, Watch, unwatched
from halign.errors import HalignError
from halign.readers import RowWriter

__all__ = ["Mixed", "mix", "sized"]


@dataclass(frozen=True)
class Mixed:
    """One mix that was written.

    Attributes:
        counts: rows of each source; ``available``: that it has.
        shared: conversations that stand in more than one source, which count as the same.
    """

    output: Path
    counts: tuple[int, ...]
    available: tuple[int, ...]
    shared: int

    @property
    def size(self) -> int:
        return sum(self.counts)


def sized(output: Path, size: int, several: bool) -> Path:
    """The file of one size of several.

    >>> sized(Path("mix.jsonl.gz"), 1000, True).name
    'mix-1000.jsonl.gz'
    """
    if not several:
        return output
    stem = output.name[: output.name.rindex(".jsonl")]
    return output.with_name(f"{stem}-{size}{output.name[len(stem) :]}")


def mix(
    sources: Sequence[RowSource],
    output: Path,
    *,
    weights: Sequence[float | None] = (),
    counts: Sequence[int] | None = None,
    sizes: Sequence[int] = (),
    temperature: float = 1.0,
    seed: int = 0,
    repeat: bool = False,
    watch: Watch[Row] = unwatched,
) -> list[Mixed]:
    """Write one mix for each size; the rows of a smaller one all stand in every larger one.

    Args:
        weights: of the sources; None: as many as it has rows.
        counts: rows of each source, in place of weights and sizes.
        sizes: rows of each mix. Counts are by the largest remainder of weight^(1/temperature).
        repeat: where a source has too few rows, all of them again; else that is an error.

    Raises:
        HalignError: weights, sizes or a temperature out of range; too few rows; sources of different formats.
    """
    available = [_count(s, watch) for s in sources]
    if len(formats := {s.format for s in sources}) > 1:
        named = ", ".join(f"{s.file} is {s.format}" for s in sources)
        raise HalignError(
            f"a file holds one format, these {len(formats)}: {named}. Convert them first: halign data convert"
        )
    given = [
        float(n) if w is None else w for w, n in zip(weights or [None] * len(sources), available, strict=True)
    ]
    plans = [list(counts)] if counts is not None else _plans(sorted(set(sizes)), shares(given, temperature))
    for plan in plans:
        _enough(sources, plan, available, repeat)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for n in available]
    settings: dict[str, Any] = {"seed": seed, "repeat": repeat, "temperature": temperature}
    settings |= {"counts": list(counts)} if counts is not None else {"weights": given, "sizes": list(sizes)}
    files = [str(Path(s.file).name) for s in sources]
    steps = [lineage.Step.of("mix", {**settings, "files": files, **s.settings}, s.file) for s in sources]
    shared = _shared(sources, watch)
    made = []
    for plan in plans:
        target = sized(output, sum(plan), len(plans) > 1)
        drawn = [times_drawn(order, n) for order, n in zip(orders, plan, strict=True)]
        with ExitStack() as stack:
            file = stack.enter_context(RowWriter(target))
            which = interleaved(plan)
            rows = watch(_mixed(sources, drawn, which), f"writing {target.name}")
            for index, row in zip(which.tolist(), rows, strict=True):
                file.write(built(row, steps[index], {}))
            lineage.write_header(target, steps, [s.file for s in sources])
        made.append(Mixed(target, tuple(plan), tuple(available), shared))
    return made


def _plans(sizes: Sequence[int], wanted: Sequence[float]) -> list[list[int]]:
    if not sizes or sizes[0] < 1:
        raise HalignError(f"sizes {', '.join(map(str, sizes)) or '(none)'}: say how many rows, 1 or more")
    plans: list[list[int]] = []
    for size in sizes:
        plans.append(apportion(size, wanted, plans[-1] if plans else None))
    return plans


def _enough(
    sources: Sequence[RowSource], plan: Sequence[int], available: Sequence[int], repeat: bool
) -> None:
    for source, wanted, there in zip(sources, plan, available, strict=True):
        if wanted < 0 or (wanted > there and not repeat) or (wanted and not there):
            raise HalignError(
                f"{source.file} has {there:,} rows, and {wanted:,} are asked of it: ask for less, or let rows come again with"
                " --repeat"
            )


def _count(source: RowSource, watch: Watch[Row]) -> int:
    return sum(1 for _ in watch(source, f"counting {Path(source.file).name}"))


def _shared(sources: Sequence[RowSource], watch: Watch[Row]) -> int:
    """Conversations of the same name in more than one source."""
    if len(sources) < 2:
        return 0
    seen: Counter[int] = Counter()
    for source in sources:
        seen.update({hash(row.conversation) for row in watch(source, "names")})
    return sum(n > 1 for n in seen.values())


def _mixed(sources: Sequence[RowSource], drawn: Sequence[np.ndarray], which: np.ndarray) -> Iterator[Row]:
    """The rows in the order of the mix."""
    readers = [_repeated(source, times) for source, times in zip(sources, drawn, strict=True)]
    for index in which.tolist():
        yield next(readers[index])


def _repeated(source: RowSource, times: np.ndarray) -> Iterator[Row]:
    """The rows, pass after pass: in pass p those that are drawn more than p times."""
    for done in range(int(times.max(initial=0))):
        for index, row in enumerate(source):
            if times[index] > done:
                yield row
