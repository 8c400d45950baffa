"""A language whose replies can all be listed: expected gradients are the true ones, and training ends at the known optimum."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pytest
import torch

from halign.items import Path
from halign.loops import run
from halign.loops.advantages import token_rewards
from halign.loops.grpo import Grpo, GrpoSettings
from halign.loops.prompts import Prompt
from halign.loops.reinforce import Reinforce, ReinforceSettings
from halign.loops.rloo import Rloo, RlooSettings
from halign.loops.rollouts import Rollout
from halign.render import Renderer
from tests.loops import language as lang

BETA = 0.5


def reward(text: str) -> float:
    return 1.0 * text.startswith("a") - 1.0 * ("b" in text) + 0.5 * text.endswith("c")


class Rule:
    def score(self, prompts, replies):
        return [reward(text) for text in replies]


class World:
    """The policy as it starts, every reply, its reward, and pi* proportional to pi_ref exp(r / beta)."""

    def __init__(self) -> None:
        self.policy = lang.language_policy()
        self.renderer = Renderer(self.policy.tokenizer, stop_ids=self.policy.stop_ids)
        self.prompt = self.renderer.prompt(lang.Dialogue.of("?"))
        self.replies = lang.replies(self.policy)
        self.texts = [self.renderer.decode_response(list(y.ids)).strip() for y in self.replies]
        self.rewards = torch.tensor([reward(t) for t in self.texts], dtype=torch.float64)
        self.ref = lang.logps(self.policy, self.prompt, self.replies)
        self.optimum = (self.ref + self.rewards / BETA).log_softmax(0)

    def now(self) -> torch.Tensor:
        return lang.logps(self.policy, self.prompt, self.replies)

    def rollout(self, k: int, logps: torch.Tensor, ref: torch.Tensor, group: int = 0) -> Rollout:
        y = self.replies[k]
        prompt = Prompt("p", lang.Dialogue.of("?"), self.prompt)
        path = Path(self.prompt, np.asarray(y.ids, np.int32))
        n = len(y.ids)  # only sums matter to methods that weigh whole replies
        spread = np.full(n, 1 / n)
        return Rollout(
            prompt,
            group,
            path,
            self.texts[k],
            y.finished,
            float(self.rewards[k]),
            spread * float(logps[k]),
            spread * float(ref[k]),
        )


def test_the_language_is_whole() -> None:
    world = World()
    assert len(world.replies) == 43
    assert float(world.ref.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert lang.kl(world.ref, world.optimum) > 0.5


METHODS = [
    (Rloo, RlooSettings, {}, 1.0),
    (Grpo, GrpoSettings, {"scale": "none", "kl": "reward", "beta": BETA}, 0.5),
    (Reinforce, ReinforceSettings, {}, 1.0),
]


@pytest.mark.parametrize(("method", "settings", "more", "factor"), METHODS)
def test_expected_gradients_of_whole_replies(method, settings, more, factor) -> None:
    """Over all pairs of replies, with their probability: the mean of A grad log pi is the gradient of
    E[r] - beta KL(pi || ref), by autograd over the listed replies. The groups' own mean halves GRPO's (k = 2)."""
    world = World()
    shift = torch.randn(43, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.5
    ref = world.ref  # the policy has moved away from it
    theta = (ref + shift).log_softmax(0).requires_grad_()
    logps = theta.log_softmax(0)
    pi = logps.exp()
    (pi @ world.rewards - BETA * (pi * (logps - ref)).sum()).backward()
    given = settings(samples=2, **{"beta": BETA, **more})
    total = torch.zeros(43, dtype=torch.float64)
    probabilities, at = pi.detach(), logps.detach()
    for i in range(43):
        for j in range(43):
            pair = [world.rollout(i, at, ref), world.rollout(j, at, ref)]
            method(given).credit(pair)
            for k, r in zip((i, j), pair, strict=True):
                score = torch.nn.functional.one_hot(torch.tensor(k), 43) - probabilities
                total += 0.5 * probabilities[i] * probabilities[j] * float(r.learnt["advantages"][0]) * score
    assert theta.grad is not None
    torch.testing.assert_close(total, factor * theta.grad, rtol=1e-6, atol=1e-9)


def test_token_rewards_add_up_to_the_regularised_reward() -> None:
    """PPO's: summed over tokens, r - beta (log pi - log ref) of the whole reply."""
    logps, ref = np.array([-1.0, -2.0, -0.5]), np.array([-1.5, -1.0, -1.0])
    assert token_rewards(logps, ref, 2.0, BETA).sum() == pytest.approx(2.0 - BETA * (logps - ref).sum())


def trained(world: World, name: str, output: FilePath, **settings: Any) -> tuple[float, float]:
    """KL(pi || pi*) before and after."""
    common = {"beta": BETA, "prompts": 1, "samples": 64, "max_new_tokens": lang.LENGTH, "schedule": "linear"}
    before = lang.kl(world.now(), world.optimum)
    run(
        name,
        world.policy,
        lang.prompts(1),
        output=output,
        reward=Rule(),
        quiet=True,
        tensorboard=False,
        **{"learning_rate": 3e-3, "iterations": 60, **common, **settings},
    )
    return before, lang.kl(world.now(), world.optimum)


OPTIMUM: dict[str, dict[str, Any]] = {
    "rloo": {},
    "reinforce": {},
    "grpo": {"scale": "none", "kl": "reward", "normalisation": "constant"},
    "ppo": {"minibatches": 1, "epochs": 2, "gae_lambda": 1.0},
}


def test_rloo_ends_near_the_optimum(tmp_path) -> None:
    """From .82 nats; a wrong sign anywhere leads away from pi*."""
    before, after = trained(World(), "rloo", tmp_path / "run")
    assert before > 0.8
    assert after < 0.1


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(OPTIMUM))
def test_every_method_ends_at_the_optimum(tmp_path, name) -> None:
    """To a fiftieth of a nat. GRPO in its unscaled form: divided by the group's deviation, or with k3 in the loss, it ends
    elsewhere."""
    _, after = trained(
        World(),
        name,
        tmp_path / "run",
        **{"iterations": 400, "samples": 128, "learning_rate": 2e-3, **OPTIMUM[name]},
    )
    assert after < 0.02


@pytest.mark.long
def test_k3_in_the_loss_has_its_own_optimum(tmp_path) -> None:
    """Replies of one token: reward and the forward divergence KL(ref || pi) balance where pi = beta ref / (lambda - r), with
    lambda so that it sums to 1. That is not pi_ref exp(r / beta)."""
    world = World()
    ref = first_tokens(world)
    rewards = torch.tensor(
        [reward(world.renderer.decode_response([i]).strip()) for i in range(7)], dtype=torch.float64
    )
    low, high = float(rewards.max()) + 1e-9, float(rewards.max()) + 10.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if float((BETA * ref / (middle - rewards)).sum()) > 1 else (low, middle)
    expected = BETA * ref / (high - rewards)
    trained(
        world,
        "grpo",
        tmp_path / "run",
        scale="none",
        kl="k3",
        max_new_tokens=1,
        iterations=400,
        samples=128,
        learning_rate=2e-3,
    )
    now = first_tokens(world)
    wrong = (ref.log() + rewards / BETA).softmax(0)
    assert lang.kl(now.log(), expected.log()) < 0.01
    assert lang.kl(now.log(), wrong.log()) > 0.05


@torch.no_grad()
def first_tokens(world: World) -> torch.Tensor:
    ids = torch.from_numpy(world.prompt.astype(np.int64))
    return world.policy.model(ids[None]).logits[0, -1].double().softmax(-1)  # type: ignore[operator]
