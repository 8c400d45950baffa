"""A step's gradient where the reference, the policy that drew and the policy that learns are three: the divergence in reward and
loss, ratios, and what is clipped, all written out over plain passes. At the start of a run, where they are one, none of it shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from halign.loops.online import Online
from tests.loops.test_online import NORMS, SMALL, Vowels, fresh, plain_logps, start

BETA, CLIP, GROUP = 0.3, 0.2, 3
CASES: list[tuple[str, dict[str, Any], str, str]] = [
    ("ppo", {"critic_detached": False}, "token", "tokens"),
    ("rloo", {}, "reward", "constant"),
    ("grpo", {}, "k3", "replies"),
    ("reinforce", {"kl": "k2", "normalisation": "tokens"}, "k2", "tokens"),
]
"""Method, settings, where the divergence goes, what the loss is a mean over."""


def move(model: Any, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * p.abs().mean() * torch.randn(p.shape, generator=generator))


def moved(tokenizer: Any, *seeds: int) -> Any:
    model = fresh(tokenizer).model
    for seed in seeds:
        move(model, seed)
    return model


@pytest.mark.parametrize(("name", "more", "divergence", "normalisation"), CASES)
def test_a_step_away_from_the_start(
    tokenizer, tmp_path, monkeypatch, name, more, divergence, normalisation
) -> None:
    seen: dict[str, Any] = {}
    setup, learn = Online._set_up_model, Online._learn

    def set_up(self: Online) -> None:
        setup(self)
        move(self.policy.model, 5)

    def catch(self: Online, index: int, rollouts: Any, row: Any) -> Any:
        move(self.policy.model, 6)
        monkeypatch.setattr(self.stepper, "update", lambda done: None)
        figures = learn(self, index, rollouts, row)
        gradients = {n: p.grad for n, p in self.policy.model.named_parameters() if p.grad is not None}
        seen.update(rollouts=rollouts, critic=self.critic, gradients=gradients, figures=figures)
        return figures

    monkeypatch.setattr(Online, "_set_up_model", set_up)
    monkeypatch.setattr(Online, "_learn", catch)
    one = {"iterations": 1, "minibatches": 1, "gradient_clip": None, "beta": BETA, "samples": GROUP}
    start(tokenizer, tmp_path / "run", name, **one, **more)

    replies = seen["rollouts"]
    reference, drew, learns = moved(tokenizer), moved(tokenizer, 5), moved(tokenizer, 5, 6)
    with torch.no_grad():
        ref, old = ([plain_logps(m, r.path).double() for r in replies] for m in (reference, drew))
    scores = np.array(Vowels().score(None, [r.text for r in replies]))
    totals = np.array([float((o - r).sum()) for o, r in zip(old, ref, strict=True)])
    assert np.abs(totals).max() > 0.1
    rewards = scores - BETA * totals if divergence == "reward" else scores
    if name == "ppo":
        weight, bias = (p.detach() for p in (seen["critic"].score.weight[0], seen["critic"].score.bias))
        with torch.no_grad():
            before = [values(drew, r, weight, bias) for r in replies]
        # the critic's zero: what came of every token, the divergence from there on taken off, less what the critic said
        gaps = [
            (r - o).flip(0).cumsum(0).flip(0) * BETA + s for s, o, r in zip(scores, old, ref, strict=True)
        ]
        zero = (torch.cat(gaps) - torch.cat(before)).mean()
        before = [v + zero for v in before]
        raw = [by_hand_gae(s, o, r, v) for s, o, r, v in zip(scores, old, ref, before, strict=True)]
        joined = torch.cat(raw)
        advantages = [(a - joined.mean()) / joined.std(correction=0) for a in raw]
    else:
        advantages = [torch.full((len(r),), a) for r, a in zip(replies, compared(name, rewards), strict=True)]
    shares = NORMS[normalisation]([len(r) for r in replies], SMALL["max_new_tokens"])

    loss, clipped = torch.zeros((), dtype=torch.float64), []
    for i, (reply, share) in enumerate(zip(replies, shares, strict=True)):
        logps = plain_logps(learns, reply.path).double()
        ratio = (logps - old[i]).exp()
        near = ratio.clamp(1 - CLIP, 1 + CLIP)
        clipped += (near != ratio).tolist()
        loss = loss - share * torch.minimum(ratio * advantages[i], near * advantages[i]).sum()
        gap = ref[i] - logps
        if divergence == "k3":
            loss = loss + BETA * share * (gap.exp() - 1 - gap).sum()
        elif divergence == "k2":
            loss = loss + BETA * share * 0.5 * (gap * gap).sum()
        if name == "ppo":
            now, was, wanted = values(learns, reply, weight, bias) + zero, before[i], raw[i] + before[i]
            held = torch.maximum(torch.minimum(now, was + CLIP), was - CLIP)
            error = torch.maximum((now - wanted) ** 2, (held - wanted) ** 2)
            loss = loss + 0.1 * share * 0.5 * error.sum()
    loss.backward()
    assert 0.1 < np.mean(clipped) < 0.9
    assert seen["figures"]["clip_fraction"] == pytest.approx(np.mean(clipped))
    for n, p in learns.named_parameters():
        if p.grad is not None:
            scale = float(p.grad.abs().max()) + 1e-9
            torch.testing.assert_close(seen["gradients"][n], p.grad, rtol=1e-3, atol=1e-4 * scale, msg=n)


def compared(name: str, rewards: np.ndarray) -> list[float]:
    """Advantages of replies in groups of three, or (reinforce) against all others of a first batch."""
    found = []
    for i, reward in enumerate(rewards):
        group = [j for j in range(len(rewards)) if name == "reinforce" or j // GROUP == i // GROUP]
        if name == "grpo":
            found.append((reward - rewards[group].mean()) / (rewards[group].std(ddof=1) + 1e-4))
        else:
            found.append(reward - rewards[[j for j in group if j != i]].mean())
    return found


def values(model: Any, reply: Any, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The critic's, of the state before each token of a reply."""
    ids = torch.from_numpy(reply.path.ids.astype(np.int64))
    hidden = model.model(ids[None]).last_hidden_state[0]
    return (hidden @ weight + bias)[len(reply.path.prompt) - 1 : -1].double()


def by_hand_gae(score: float, old: torch.Tensor, ref: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Backwards with lambda .95: -beta (log pi - log ref) on every token, the score on the last."""
    ahead, found = 0.0, []
    for t in reversed(range(len(value))):
        reward = -BETA * float(old[t] - ref[t]) + (score if t == len(value) - 1 else 0.0)
        following = float(value[t + 1]) if t + 1 < len(value) else 0.0
        ahead = reward + following - float(value[t]) + 0.95 * ahead
        found.insert(0, ahead)
    return torch.tensor(found, dtype=torch.float64)
