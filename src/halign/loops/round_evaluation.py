"""How good the policy is before the first and after each round: held-out prompts, answered, graded, compared with the start.

Replies are drawn at temperature 1, from the model itself, whatever the loop draws with: only so is the mean of log pi - log
pi_start an estimate of the KL divergence. The noise of the draws is the same in every round, which narrows the intervals of
differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from halign.dialogue import Dialogue
from halign.evaluate import Interval, difference, mean
from halign.likelihood import logps
from halign.loops.asked import Asked
from halign.loops.round_files import Chunked, Row
from halign.models import Policy
from halign.rewards.protocol import Preferences, Reward
from halign.sampling import Sample

FILE = "evaluation.jsonl"
Draw = Callable[[Sequence[Dialogue]], list[Sample]]


def evaluate(
    folder: Path,
    prompts: Sequence[Asked],
    draw: Draw,
    *,
    start: Policy | None,
    reward: Reward | None,
    preferences: Preferences | None,
    before: Path | None,
    chunk: int,
    after: Callable[[int], None],
) -> Row:
    """Answer and grade; ``evaluation.jsonl`` in ``folder``. What ``figures`` says of it.

    Args:
        draw: one reply to each prompt, with ``logps``.
        start: the model the loop began with; None: this is it.
        preferences: asked where there is no reward: P(the reply is better than the start's).
        before: the folder of the start's own evaluation; None: this is it.
    """
    first = Chunked(before / FILE, len(prompts), chunk).rows() if before else []

    def make(begin: int, end: int) -> list[Row]:
        some = [one.prompt for one in prompts[begin:end]]
        samples = draw(some)
        words = [s.text for s in samples]
        kl = [0.0] * len(some)
        if start is not None:
            started = logps(start, [(p, s.ids) for p, s in zip(some, samples, strict=True)])
            kl = [
                float(s.logps.sum() - b) for s, b in zip(samples, started, strict=True) if s.logps is not None
            ]
        rows: list[Row] = [
            {
                "conversation": one.conversation,
                "text": s.text,
                "finished": s.finished,
                "tokens": len(s.ids),
                "kl": k,
            }
            for one, s, k in zip(prompts[begin:end], samples, kl, strict=True)
        ]
        if reward is not None:
            _add(rows, "reward", map(float, reward.score(some, words)))
        elif preferences is not None:
            others = [r["text"] for r in first[begin:end]]
            _add(
                rows,
                "win",
                preferences.prefers(list(zip(some, words, others, strict=True)))
                if first
                else [0.5] * len(some),
            )
        return rows

    return figures(Chunked(folder / FILE, len(prompts), chunk).fill(make, after), first)


def figures(rows: Sequence[Row], first: Sequence[Row]) -> Row:
    """Means over the replies, each with the bounds of its 95 % interval, clustered by conversation.

    ``reward``; ``gain``, how much it is above the start's on the same prompts; ``win_rate``, P(better than the start's), where
    there is no reward; ``kl``, nats per reply; ``length``, tokens; ``unfinished``, a share.
    """
    clusters = [r["conversation"] for r in rows]
    found: Row = {}
    if len(set(clusters)) < 2:
        return {name: _plain(rows, key) for name, key in _NAMES.items() if key in rows[0]}
    for name, key in _NAMES.items():
        if key in rows[0]:
            found |= _bounds(name, mean([r[key] for r in rows], clusters))
    if first and "reward" in rows[0]:
        now, then = ([r["reward"] for r in some] for some in (rows, first))
        found |= _bounds("gain", difference(now, then, clusters))
    found["length"] = _plain(rows, "tokens")
    found["unfinished"] = 1 - _plain(rows, "finished")
    return found


_NAMES = {"reward": "reward", "win_rate": "win", "kl": "kl"}


def _bounds(name: str, interval: Interval) -> Row:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _plain(rows: Sequence[Row], key: str) -> float:
    return sum(float(r[key]) for r in rows) / len(rows)


def _add(rows: Sequence[Row], name: str, values: Any) -> None:
    for row, value in zip(rows, values, strict=True):
        row[name] = float(value)
