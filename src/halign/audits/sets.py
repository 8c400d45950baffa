"""Pairs that people judged, out of the data folder, and a judge's verdicts on them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from halign.audits.labels import Label
from halign.errors import HalignError
from halign.judges.recording import pair_records
from halign.judges.records import JudgedItem, PairRecord

Pair = tuple[JudgedItem, Label]


def _llmbar(row: dict[str, Any]) -> Iterator[Pair]:
    """LLMBar (arXiv 2310.07641) and the three older sets that it was compared with; ``subset`` says which."""
    names = ("output_1", "output_2")
    item = JudgedItem(row["id"], row["id"], row["prompt"], dict(zip(names, row["responses"], strict=True)))
    yield item, Label(row["id"], *names, names[row["preferred"]], subset=row["subset"])


def _xstest(row: dict[str, Any]) -> Iterator[Pair]:
    """XSTest: of two models' replies to one prompt, the one with the better human label (comply with what is safe, refuse what is
    not)."""
    replies = {r["source"]: r["content"] for r in row["responses"]}
    score = {r["source"]: r["score"] for r in row["responses"]}
    subset = "safe" if row["safe"] else "unsafe"
    item = JudgedItem(row["id"], row["id"], row["prompt"], replies, meta={"type": row["type"]})
    for a, b in combinations(replies, 2):
        if score[a] != score[b]:
            yield item, Label(row["id"], a, b, a if score[a] > score[b] else b, subset=subset)


def _qa_feedback(row: dict[str, Any]) -> Iterator[Pair]:
    """QA-Feedback (arXiv 2306.01693): the six comparisons of four answers; those without a preference are left out."""
    names = [f"answer {i + 1}" for i in range(len(row["responses"]))]
    replies = {n: r["content"] for n, r in zip(names, row["responses"], strict=True)}
    item = JudgedItem(row["id"], row["id"], row["prompt"], replies)
    for c in row["comparisons"]:
        if c["preferred"] is not None:
            yield item, Label(row["id"], names[c["first"]], names[c["second"]], names[c["preferred"]])


SETS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], Iterator[Pair]]]] = {
    "llmbar": (("eval/judge_pairs_llmbar.jsonl.gz",), _llmbar),
    "xstest": (
        ("preferences/xstest_rankings_train.jsonl.gz", "preferences/xstest_rankings_test.jsonl.gz"),
        _xstest,
    ),
    "qa_feedback": (
        ("preferences/qa_feedback_rankings_train.jsonl.gz", "preferences/qa_feedback_rankings_test.jsonl.gz"),
        _qa_feedback,
    ),
}
"""Name -> its files in the data folder, and how a row is read."""


def labelled_set(name: str, folder: str | Path) -> list[Pair]:
    """The pairs of one of SETS, with what people prefer.

    Args:
        folder: the data folder, that holds ``eval`` and ``preferences``.

    Raises:
        HalignError: no such set, or its files are not there.
    """
    if name not in SETS:
        raise HalignError(f"no set {name!r}; there are {', '.join(SETS)}")
    files, read = SETS[name]
    found = []
    for file in files:
        path = Path(folder) / file
        if not path.exists():
            raise HalignError(f"the set {name} is not here: there is no {path}; set HALIGN_DATA or --folder")
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found += [pair for line in lines for pair in read(json.loads(line))]
    return found


def ask(judge: Any, pairs: Sequence[Pair]) -> list[PairRecord]:
    """What a judge says of every pair, as ``halign judge`` would record it.

    Raises:
        HalignError: as the judge's.
    """
    return pair_records(judge, [(item, label.a, label.b) for item, label in pairs])
