"""Replies as a round writes them down: which can be learnt from, and what is counted of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from halign.loops.groups import Group
from halign.loops.round_files import Row
from halign.sampling import Sample


def to_row(sample: Sample) -> dict[str, Any]:
    """A reply of samples.jsonl."""
    return {"content": sample.text, "finished": sample.finished, "tokens": len(sample.ids)}


def usable(row: Row) -> tuple[str, ...]:
    """The replies of a row that can be learnt from. One that was cut off would be learnt with an end that it never had."""
    return tuple(r["content"] for r in row["responses"] if r["finished"] and r["content"])


def left_out(samples: Sequence[Row]) -> dict[str, int]:
    """Replies that are not ``usable``, by reason."""
    replies = [r for row in samples for r in row["responses"]]
    counts = {
        "replies cut off at max_new_tokens": sum(not r["finished"] for r in replies),
        "replies without words": sum(r["finished"] and not r["content"] for r in replies),
    }
    return {reason: n for reason, n in counts.items() if n}


def described(samples: Sequence[Row], groups: Sequence[Group]) -> Row:
    """Counts, and mean rewards: ``drawn_reward`` of all usable replies, ``best_reward`` of the best of each prompt."""
    replies = [r for row in samples for r in row["responses"]]
    row: Row = {
        "prompts": len(samples),
        "replies": len(replies),
        "tokens": sum(r["tokens"] for r in replies),
    }
    scored = [g.rewards for g in groups if g.rewards]
    if scored:
        row["drawn_reward"] = sum(map(sum, scored)) / sum(map(len, scored))
        row["best_reward"] = sum(map(max, scored)) / len(scored)
    return row
