"""PRO: both temperatures by hand, ties, its code's numbers, and what it is for two responses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import softplus

from halign.objectives import Lists, find, pro
from tests.objectives.samples import FAR_LISTS, assert_list_gradients, lists, random_lists


def by_hand(given: Lists, temperature: str, weight: float) -> list[float]:
    """The formula in plain loops, on lists that stand best first."""
    result = []
    assert given.lengths is not None
    for row, logps in enumerate(given.logps.tolist()):
        n = given.lengths[row].tolist()
        count = len(logps) if given.mask is None else int(given.mask[row].sum())
        if temperature == "reward":
            assert given.rewards is not None
            r = given.rewards[row].tolist()
        else:
            r = [
                -x
                for x in (given.ranks[row].tolist() if given.ranks is not None else range(1, len(logps) + 1))
            ]
        p = [s / m for s, m in zip(logps, n, strict=True)]
        loss = weight * (count - 1) ** 2 * -logps[0]
        for k in range(count):
            after = [j for j in range(k + 1, count) if r[j] != r[k]]
            if not after:
                continue
            t = {j: r[k] - r[j] if temperature == "reward" else 1.0 for j in after}
            own = max(t.values())
            top = math.exp(p[k] * own)
            loss -= math.log(top / (top + sum(math.exp(p[j] * t[j]) for j in after)))
        result.append(loss)
    return result


THREE = lists([[-2.0, -6.0, -3.0]], lengths=[[2.0, 3.0, 1.0]], rewards=[[3.0, 2.0, 0.0]])
"""Means -1, -2 and -3."""


def test_rewards_as_temperature_by_hand() -> None:
    """k = 1: T = 3 for itself, 1 and 3 for the others. k = 2: T = 2 and 2. The weight is 0.05 * 2^2 on 2 nats."""
    first = -math.log(math.exp(-3) / (math.exp(-3) + math.exp(-2) + math.exp(-9)))
    second = -math.log(math.exp(-4) / (math.exp(-4) + math.exp(-6)))
    assert pro(THREE).tolist() == pytest.approx([first + second + 0.05 * 4 * 2])
    assert pro(THREE, sft_weight=0.0).tolist() == pytest.approx([first + second])


def test_without_temperature_by_hand() -> None:
    first = -math.log(math.exp(-1) / (math.exp(-1) + math.exp(-2) + math.exp(-3)))
    second = -math.log(math.exp(-2) / (math.exp(-2) + math.exp(-3)))
    ranked = replace(THREE, rewards=None)
    assert pro(ranked, temperature="none", sft_weight=0.5).tolist() == pytest.approx([first + second + 4])


@pytest.mark.parametrize("temperature", ["reward", "none"])
def test_against_plain_loops(temperature: str) -> None:
    for given in (random_lists(6), random_lists(6, width=5, seed=1), replace(random_lists(3), ranks=None)):
        for weight in (0.0, 0.05):
            ours = pro(given, temperature=temperature, sft_weight=weight)  # type: ignore[arg-type]
            assert ours.tolist() == pytest.approx(by_hand(given, temperature, weight), rel=1e-4)


def test_equals_are_left_out_of_each_others_sum() -> None:
    """The two best are equal: each against the third alone. All equal: nothing to say but the imitation."""
    r = replace(THREE, rewards=torch.tensor([[3.0, 3.0, 0.0]]), ranks=torch.tensor([[1.0, 1.0, 3.0]]))
    want = sum(-math.log(math.exp(3 * p) / (math.exp(3 * p) + math.exp(-9))) for p in (-1, -2))
    assert pro(r, sft_weight=0.0).tolist() == pytest.approx([want], rel=1e-5)
    want = sum(-math.log(math.exp(p) / (math.exp(p) + math.exp(-3))) for p in (-1, -2))
    assert pro(r, temperature="none", sft_weight=0.0).tolist() == pytest.approx([want], rel=1e-5)
    even = replace(THREE, rewards=torch.ones(1, 3), ranks=torch.ones(1, 3))
    even.logps.requires_grad_()
    for temperature in ("reward", "none"):
        loss = pro(even, temperature=temperature, sft_weight=0.0)  # type: ignore[arg-type]
        assert loss.tolist() == [0.0]
        (grad,) = torch.autograd.grad(loss.sum(), even.logps)
        assert grad.tolist() == [[0.0] * 3]
    even.logps.requires_grad_(False)


def test_two_responses_are_a_logistic_loss_of_the_means() -> None:
    given = random_lists(5, width=2)
    given = replace(given, ranks=None, mask=None, lengths=torch.full((5, 2), 3.0))
    means = given.logps / 3
    gap = means[:, 0] - means[:, 1]
    assert torch.allclose(pro(given, temperature="none", sft_weight=0.0), softplus(-gap), atol=1e-6)
    assert given.rewards is not None
    scaled = replace(given, rewards=torch.tensor([[5.0, 2.0]]).expand(5, 2))
    assert torch.allclose(pro(scaled, sft_weight=0.0), softplus(-3 * gap), atol=1e-6)


def test_far_away() -> None:
    """Means -1, -101, -201 with rewards 1, 0.5, 0: nothing to add in the right order. In the wrong one, k = 1 has
    -201 * 1 against -101 * 0.5 and -1 * 1; k = 2 has -101 * 0.5 against -1 * 0.5."""
    assert pro(FAR_LISTS, sft_weight=0.0).tolist() == pytest.approx([0.0, 200.0 + 50.0], abs=1e-4)


@pytest.mark.parametrize("temperature", ["reward", "none"])
def test_gradients(temperature: str) -> None:
    assert_list_gradients(pro, temperature=temperature)


def test_what_it_needs_follows_from_the_temperature() -> None:
    assert [find("pro").needs({"temperature": t}) for t in ("reward", "none")] == [("rewards",), ()]
    with pytest.raises(ValueError, match=r"Lists\.rewards"):
        pro(replace(THREE, rewards=None))
    with pytest.raises(ValueError, match="lengths"):
        pro(replace(THREE, lengths=None))
