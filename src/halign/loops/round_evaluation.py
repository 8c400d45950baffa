"""How good the policy is before the first and after each round: held-out prompts, answered, graded, compared with the start.

Replies are drawn at temperature 1, from the model itself, whatever the loop draws with: only so is the mean of log pi - log
pi_start an estimate of the KL divergence. The noise of the draws is the same in every round, which narrows the intervals of
differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from halign.evaluate import Interval, difference, log_ratios, mean
from halign.loops.asked import Asked
from halign.loops.judging import preferred, rewards_of
from halign.loops.round_files import Chunked, Row
from halign.models import Policy
from halign.rewards.protocol import Preferences, Reward
from halign.sampling import Sample

FILE = "evaluation.jsonl"
Draw = Callable[[int, range], list[Sample]]
"""(place of a chunk's first prompt, places of some of its prompts) -> a reply to each."""


def evaluate(
    into: Chunked,
    prompts: Sequence[Asked],
    draw: Draw,
    *,
    policy: Policy,
    start: Policy | None,
    reward: Reward | None,
    preferences: Preferences | None,
    before: Chunked | None,
    after: Callable[[int], None],
) -> Row:
    """Answer and grade. What ``figures`` says of it.

    Args:
        into: the round's ``evaluation.jsonl``.
        start: the model the loop began with; None: this is it.
        preferences: asked where there is no reward: P(the reply is better than the start's).
        before: the start's own; None: this is it.
    """
    first = before.rows() if before else []

    def make(chunk: int, places: range) -> list[Row]:
        asked = prompts[places.start : places.stop]
        some = [one.prompt for one in asked]
        samples = draw(chunk, places)
        words = [s.text for s in samples]
        kl = [0.0] * len(some)
        if start is not None:
            kl = log_ratios(policy, start, some, [s.ids for s in samples])
        rows: list[Row] = [
            {
                "conversation": one.conversation,
                "text": s.text,
                "finished": s.finished,
                "tokens": len(s.ids),
                "kl": k,
            }
            for one, s, k in zip(asked, samples, kl, strict=True)
        ]
        if reward is not None:
            _add(rows, "reward", rewards_of(reward, some, words))
        elif preferences is not None:
            others = [r["text"] for r in first[places.start : places.stop]]
            compared = list(zip(some, words, others, strict=True)) if first else []
            _add(rows, "win", preferred(preferences, compared) if first else [0.5] * len(some))
        return rows

    return figures(into.fill(make, after), first)


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


def _add(rows: Sequence[Row], name: str, values: Sequence[float]) -> None:
    for row, value in zip(rows, values, strict=True):
        row[name] = value
