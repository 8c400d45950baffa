"""Seconds and memory of ``halign data dedupe`` on a million made-up conversations, of which it is known what repeats.

    python benchmarks/dedupe.py --rows 1000000

Turns are sentences of the SGD conversations under ``$HALIGN_DATA``; 10 % of the rows repeat an earlier one word for word, 10 %
with two words in a hundred changed, under names of their own.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from halign.checks import dialogue_of
from halign.curation.dedupe import ALIKE, SAME, dedupe
from halign.curation.source import RowSource
from halign.readers import read, write_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    file = options.folder / f"dedupe-{options.rows}.jsonl"
    if not file.exists():
        made = write_rows(rows(options.rows), file)
        print(f"{made:,} rows, {file.stat().st_size / 1e6:,.0f} MB")
    start, used = time.time(), time.process_time()
    outcome, _ = dedupe(RowSource(file), options.folder / f"dedupe-{options.rows}.out.jsonl")
    seconds, busy = time.time() - start, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{seconds:.0f} s ({busy:.0f} s of processor), {options.rows / seconds:,.0f} rows/s, peak {peak:,.0f} MB"
    )
    print(f"kept {outcome.kept:,}; same {outcome.dropped[SAME]:,}, alike {outcome.dropped[ALIKE]:,}")


def rows(count: int) -> Iterator[dict[str, Any]]:
    """The rows; what repeats is drawn with a fixed seed."""
    rng = random.Random(0)
    data = read(Path(os.environ["HALIGN_DATA"]) / "care/sgd_train.jsonl.gz")
    said = [[m.content for m in dialogue_of(e).messages] for e in data]
    agents, users = ([t for talk in said for t in talk[k::2]] for k in (1, 0))
    words = sorted({w for t in agents[:20000] for w in t.split()})
    recent: list[list[str]] = []
    for i in range(count):
        kind = rng.random()
        if kind < 0.2 and recent:
            turns = list(rng.choice(recent))
            if kind < 0.1:
                turns = [
                    " ".join(w if rng.random() > 0.02 else rng.choice(words) for w in t.split())
                    for t in turns
                ]
        else:
            turns = [rng.choice(agents if k % 2 else users) for k in range(2 * rng.randint(3, 5))]
            if len(recent) < 100_000:
                recent.append(turns)
        roles = ("user", "assistant")
        yield {"id": f"c{i}", "messages": [{"role": roles[k % 2], "content": t} for k, t in enumerate(turns)]}


if __name__ == "__main__":
    main()
