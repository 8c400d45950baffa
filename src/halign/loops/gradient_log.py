"""What a policy gradient's run shows and keeps: figures of its replies and updates, samples, the time it took."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from halign.checkpoints import Part
from halign.evaluate.intervals import mean
from halign.loops.rollouts import Rollout
from halign.objectives.kl_penalty import kl_estimates
from halign.run_folder import write_text

Row = dict[str, Any]
SAMPLES = "samples.jsonl"
KEPT_SAMPLES = 8
"""Replies of an iteration that are kept to be read."""


def figures(rollouts: Sequence[Rollout]) -> Row:
    """Of an iteration's replies: ``reward`` and ``reward_std`` (scores as given); the divergence from the reference ``kl``
    (k1) and ``kl_k3``, nats a reply, and ``kl_per_token``, ``kl_k3_per_token``; ``entropy``, nats a token, exact at the sampled
    positions; ``length`` in tokens; ``finished``, a share."""
    scores = np.array([r.score for r in rollouts])
    logps = torch.from_numpy(np.concatenate([r.logps for r in rollouts])).double()
    ref = torch.from_numpy(np.concatenate([r.ref_logps for r in rollouts])).double()
    totals = {name: float(e.sum()) for name, e in kl_estimates(logps, ref).items()}
    replies, tokens = len(rollouts), len(logps)
    return {
        "reward": float(scores.mean()),
        "reward_std": float(scores.std()),
        "kl": totals["k1"] / replies,
        "kl_k3": totals["k3"] / replies,
        "kl_per_token": totals["k1"] / tokens,
        "kl_k3_per_token": totals["k3"] / tokens,
        "entropy": float(np.concatenate([r.entropy for r in rollouts]).mean()),
        "length": tokens / replies,
        "finished": float(np.mean([r.finished for r in rollouts])),
        "replies": replies,
    }


def intervals(rollouts: Sequence[Rollout]) -> Row:
    """95 % intervals of reward and divergence, clustered by conversation; none where there is only one."""
    clusters = [r.prompt.conversation for r in rollouts]
    if len(set(clusters)) < 2:
        return {}
    found = {"reward": [r.score for r in rollouts], "kl": [r.kl for r in rollouts]}
    row: Row = {}
    for name, values in found.items():
        interval = mean(values, clusters)
        row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return row


def over_updates(rows: Sequence[Row]) -> Row:
    """Means over an iteration's updates; of names that end in ``_max`` the largest; ``tokens`` in all."""
    found: Row = {"updates": len(rows)}
    for name in rows[0]:
        values = [row[name] for row in rows if name in row]
        if name.endswith("_max"):
            found[name] = max(values)
        else:
            found[name] = sum(values) if name == "tokens" else sum(values) / len(values)
    if "loss_policy" not in found:
        found["loss_policy"] = found["loss"]
    return found


def note(row: Row) -> str:
    """The figures beside the bar.

    >>> note({"reward": 0.5, "kl": 1.234, "entropy": 0.8, "length": 20.0, "samples_per_s": 12.34})
    'reward 0.500  kl 1.23  entropy 0.80  length 20.0  12.3 samples/s'
    """
    return (
        f"reward {row['reward']:.3f}  kl {row['kl']:.2f}  entropy {row['entropy']:.2f}  length {row['length']:.1f}  "
        f"{row['samples_per_s']:.1f} samples/s"
    )


class Clock:
    """Seconds of an iteration, part by part."""

    def __init__(self) -> None:
        self.last = time.perf_counter()
        self.parts: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """What went on since the last lap was this."""
        now = time.perf_counter()
        self.parts[name], self.last = now - self.last, now

    def row(self, replies: int) -> Row:
        """``seconds_*`` of the parts, and ``samples_per_s`` over all of them."""
        total = sum(self.parts.values())
        return {**{f"seconds_{k}": v for k, v in self.parts.items()}, "samples_per_s": replies / total}


def write_samples(folder: Path, step: int, rollouts: Sequence[Rollout]) -> None:
    """Append some replies to ``samples.jsonl``, in full."""
    with (folder / SAMPLES).open("a") as file:
        for r in rollouts[:KEPT_SAMPLES]:
            row = {
                "step": step,
                "conversation": r.prompt.conversation,
                "prompt": [m.to_dict() for m in r.prompt.dialogue.messages],
                "reply": r.text,
                "reward": r.score,
                "kl": r.kl,
                "tokens": len(r),
                "finished": r.finished,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def forget_samples(folder: Path, step: int) -> None:
    """Drop samples of iterations past the one being resumed from: they will be drawn again."""
    path = folder / SAMPLES
    if path.exists():
        lines = path.read_text().splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))


def module_part(module: nn.Module, prefix: str) -> Part:
    """A module's trained weights as part of a checkpoint."""

    def save() -> dict[str, Tensor]:
        return {
            prefix + n: p.detach().cpu().contiguous() for n, p in module.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def load(tensors: dict[str, Tensor]) -> None:
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(tensors.pop(prefix + name))

    return Part(save, load)
