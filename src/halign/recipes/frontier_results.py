"""From the replies of all models to the numbers of the frontier, with intervals clustered by conversation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halign.evaluate import mean
from halign.evaluate.frontier import best_of_n, best_of_n_kl, jackknifed, win_rate
from halign.recipes.steps import read_rows

Floats = NDArray[np.float64]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """A test prompt and the start model's pool for it.

    Attributes:
        rewards: float64 [N], of the pool.
        learned: float64 [N], what the reward model says of the same replies.
    """

    conversation: str
    rewards: Floats
    learned: Floats


Prompts = Mapping[tuple[str, int], Asked]
"""(history, number) -> the prompt, in order."""


def read_pool(said: Mapping[str, Path], learned: Mapping[str, Path]) -> dict[tuple[str, int], Asked]:
    """The pools of every history."""
    found = {}
    for history, folder in said.items():
        rows = read_rows(folder / "replies.jsonl")
        scores = json.loads((learned[history] / "learned.json").read_text())
        for number in dict.fromkeys(r["prompt"] for r in rows):
            mine = [i for i, r in enumerate(rows) if r["prompt"] == number]
            found[history, number] = Asked(
                rows[mine[0]]["conversation"],
                np.array([rows[i]["reward"] for i in mine], dtype=float),
                np.array([scores[i] for i in mine], dtype=float),
            )
    return found


def read_replies(folders: Sequence[tuple[str, Path]], learned: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """The rows of several (history, stage), with their history, and ``learned`` where that was asked."""
    rows: list[dict[str, Any]] = []
    for place, (history, folder) in enumerate(folders):
        some = [{**r, "history": history} for r in read_rows(folder / "replies.jsonl")]
        if learned:
            scores = json.loads((learned[place] / "learned.json").read_text())
            some = [{**r, "learned": s} for r, s in zip(some, scores, strict=True)]
        rows += some
    return rows


def mean_reward(folders: Sequence[Path]) -> float:
    """Over all replies of some stages; minus infinity where a model has none, because its training diverged."""
    rewards = [[r["reward"] for r in read_rows(f / "replies.jsonl")] for f in folders]
    return float(np.mean([r for of in rewards for r in of])) if all(rewards) else -float("inf")


def interval(values: Sequence[float], conversations: Sequence[str]) -> dict[str, Any]:
    """Mean and 95 % interval, conversations taken as independent."""
    return mean(values, conversations).to_dict()


def over_prompts(prompts: Prompts, values: Sequence[float]) -> dict[str, Any]:
    """The interval of one value for each prompt."""
    return interval(values, [p.conversation for p in prompts.values()])


def start(prompts: Prompts) -> dict[str, Any]:
    """The start model itself."""
    return {"reward": over_prompts(prompts, [float(p.rewards.mean()) for p in prompts.values()])}


def best_of(prompts: Prompts, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Best-of-n by the true reward and by the learned one, at the upper bound of their KL."""
    rows = []
    for n in counts:
        by_true = [best_of_n(p.rewards, p.rewards, n) for p in prompts.values()]
        by_learned = [best_of_n(p.learned, p.rewards, n) for p in prompts.values()]
        proxy = [best_of_n(p.learned, p.learned, n) - p.learned.mean() for p in prompts.values()]
        rows.append(
            {
                "n": n,
                "kl_bound": best_of_n_kl(n),
                "reward": over_prompts(prompts, by_true),
                "gain": over_prompts(prompts, _above(prompts, by_true)),
                "by_learned": {
                    "reward": over_prompts(prompts, by_learned),
                    "gain": over_prompts(prompts, _above(prompts, by_learned)),
                    "learned_gain": over_prompts(prompts, proxy),
                },
            }
        )
    return rows


def ideal(
    prompts: Prompts, betas: Sequence[float], least: float, learned: bool = False
) -> list[dict[str, Any]]:
    """pi* proportional to pi_ref exp(r / beta) for each beta, where the pool holds enough of it.

    One beta for all prompts maximises the mean reward for a given mean KL over prompts (it is that constraint's multiplier).

    Args:
        least: harmonic mean over prompts of the effective sample size below which a beta is left out: the bias at a
            prompt goes with 1 / (effective sample size).
        learned: pi* of the learned reward; betas are then in its units, and ``reward`` is still the true one.
    """
    rows: list[dict[str, Any]] = []
    for beta in betas:
        at = [jackknifed(p.rewards, beta, p.learned if learned else None) for p in prompts.values()]
        effective = len(at) / sum(1 / t.effective for t in at)
        if effective < least:
            continue
        rewards = [t.reward for t in at]
        row: dict[str, Any] = {
            "beta": beta,
            "effective": effective,
            "reward": over_prompts(prompts, rewards),
            "gain": over_prompts(prompts, _above(prompts, rewards)),
            "kl": over_prompts(prompts, [t.kl for t in at]),
        }
        if learned:
            proxy = [jackknifed(p.learned, beta).reward - p.learned.mean() for p in prompts.values()]
            row["learned_gain"] = over_prompts(prompts, proxy)
        rows.append(row)
    return sorted(rows, key=lambda r: float(r["kl"]["value"]))


def point(prompts: Prompts, rows: Sequence[Row], curve: Sequence[Row] = ()) -> dict[str, Any]:
    """One trained model: reward, gain over the start model's mean at the same prompts, KL, length, win rate; the share of the
    ideal's gain only where the KL's interval is above zero.

    Args:
        curve: the ideal, against whose gain at the same KL the model's is held.
    """
    of = [prompts[r["history"], r["prompt"]] for r in rows]
    names = [r["conversation"] for r in rows]
    gains = [r["reward"] - float(p.rewards.mean()) for r, p in zip(rows, of, strict=True)]
    found: dict[str, Any] = {
        "reward": interval([r["reward"] for r in rows], names),
        "gain": interval(gains, names),
        "win_rate": interval(
            [win_rate(r["reward"], p.rewards) for r, p in zip(rows, of, strict=True)], names
        ),
        "tokens": interval([r["tokens"] for r in rows], names),
        "unfinished": float(np.mean([not r["finished"] for r in rows])),
    }
    if all("kl" in r for r in rows):
        found["kl"] = interval([r["kl"] for r in rows], names)
        apart = found["kl"]["low"] > 0
        found["of_ideal"] = of_ideal(found["gain"]["value"], found["kl"]["value"], curve) if apart else None
    if all("learned" in r for r in rows):
        proxy = [r["learned"] - float(p.learned.mean()) for r, p in zip(rows, of, strict=True)]
        found["learned_gain"] = interval(proxy, names)
    return found


def of_ideal(gain: float, kl: float, curve: Sequence[Row]) -> float | None:
    """The share of the ideal's gain at the same KL (linear between its points, from nothing at KL 0); None beyond its end, or
    where the KL is not above zero.

    >>> curve = [{"kl": {"value": 1.0}, "gain": {"value": 0.2}}, {"kl": {"value": 2.0}, "gain": {"value": 0.3}}]
    >>> of_ideal(0.125, 1.5, curve), of_ideal(0.1, 2.5, curve)
    (0.5, None)
    """
    kls = [0.0, *(r["kl"]["value"] for r in curve)]
    gains = [0.0, *(r["gain"]["value"] for r in curve)]
    if not 0 < kl <= kls[-1]:
        return None
    best = float(np.interp(kl, kls, gains))
    return gain / best if best > 0 else None


def accuracy(prompts: Prompts) -> dict[str, Any]:
    """How often the reward model orders two replies of a pool as the truth does, where that is not indifferent; ties half.

    The mean over prompts of the share of their pairs.

    Raises:
        ValueError: if fewer than two conversations have replies with unlike rewards.
    """
    shares = []
    for p in prompts.values():
        better = p.rewards[:, None] > p.rewards[None, :]
        ahead = p.learned[:, None] - p.learned[None, :]
        if better.any():
            shares.append((p.conversation, float(((ahead > 0) + 0.5 * (ahead == 0))[better].mean())))
    return interval([s for _, s in shares], [c for c, _ in shares])


def scale(prompts: Prompts) -> float:
    """Spread of the learned reward over that of the true one: mean standard deviations within prompts. Turns a beta of one into a
    like one of the other."""
    true = float(np.mean([p.rewards.std() for p in prompts.values()]))
    return float(np.mean([p.learned.std() for p in prompts.values()])) / true if true else 1.0


def _above(prompts: Prompts, values: Sequence[float]) -> list[float]:
    """Values of prompts, less the start model's mean there."""
    return [v - float(p.rewards.mean()) for v, p in zip(values, prompts.values(), strict=True)]
