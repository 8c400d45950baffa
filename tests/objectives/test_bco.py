"""BCO and its running baseline: numbers by hand, and what happens at the edges. (TRL 1.16 has its trainer no longer.)"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from halign.objectives import Singles, bco
from halign.objectives.bco import statistics
from tests.objectives.samples import random_singles


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def singles(log_ratios: list[float], desirable: list[bool]) -> Singles:
    return Singles(
        torch.tensor(log_ratios, dtype=torch.float32) - 10,
        torch.full((len(desirable),), -10.0),
        desirable=torch.tensor(desirable),
    )


def stepped(given: Singles, before: dict[str, Tensor] | None = None) -> Singles:
    return replace(given, step=statistics(given, before or {}))


def test_statistics_run_over_all_steps() -> None:
    """Good 2, 4 then 9: means 3, then 5. Bad -1, then 3, 5, 1: -1, then 2."""
    first = statistics(singles([2, -1, 4], [True, False, True]), {})
    assert {k: v.item() for k, v in first.items()} == pytest.approx(
        {"good_count": 2, "good_mean": 3, "bad_count": 1, "bad_mean": -1}
    )
    second = statistics(singles([3, 9, 5, 1], [False, True, False, False]), first)
    assert {k: v.item() for k, v in second.items()} == pytest.approx(
        {"good_count": 3, "good_mean": 5, "bad_count": 4, "bad_mean": 2}
    )
    third = statistics(singles([6], [False]), second)
    assert third["good_mean"].item() == pytest.approx(5)
    assert third["bad_mean"].item() == pytest.approx(2.8)


def test_values_by_hand() -> None:
    """Means 3 (good) and -1 (bad): the baseline is 1 as in the paper, (2 + 4 - 1) / 3 pooled."""
    given = stepped(singles([2, -1, 4], [True, False, True]))
    for beta in (0.1, 0.7):
        want = [softplus(-beta * (2 - 1)), softplus(beta * (-1 - 1)), softplus(-beta * (4 - 1))]
        assert bco(given, beta=beta).tolist() == pytest.approx(want, rel=1e-6)
        mean = 5 / 3
        want = [softplus(-beta * (2 - mean)), softplus(beta * (-1 - mean)), softplus(-beta * (4 - mean))]
        assert bco(given, beta=beta, pooled=True).tolist() == pytest.approx(want, rel=1e-6)


def test_one_class_alone_is_its_own_baseline() -> None:
    given = stepped(singles([2, 4], [True, True]))
    want = [softplus(0.1), softplus(-0.1)]
    assert bco(given).tolist() == pytest.approx(want)
    assert bco(given, pooled=True).tolist() == pytest.approx(want)


def test_against_the_code_of_earlier_trl() -> None:
    """Its ``bco_loss`` over two batches, written out with the moments of all rewards so far."""
    beta, rewards = 0.3, torch.zeros(0)
    before: dict[str, Tensor] = {}
    for seed in (0, 1):
        given = stepped(random_singles(5, seed=seed), before)
        assert given.step is not None
        assert given.ref_logps is not None
        assert given.desirable is not None
        before = dict(given.step)
        own = beta * (given.logps - given.ref_logps)
        rewards = torch.cat([rewards, own])
        delta = rewards.mean()
        good = -torch.nn.functional.logsigmoid(own[given.desirable] - delta)
        bad = -torch.nn.functional.logsigmoid(-(own[~given.desirable] - delta))
        theirs = torch.cat([good, bad]).nanmean()
        assert torch.allclose(bco(given, beta=beta, pooled=True).mean(), theirs)


@pytest.mark.parametrize("pooled", [False, True])
def test_gradients(pooled: bool) -> None:
    start = stepped(random_singles(6, torch.float64))

    def losses(logps: Tensor, ref: Tensor) -> Tensor:
        return bco(replace(start, logps=logps, ref_logps=ref), beta=0.3, pooled=pooled)

    assert start.ref_logps is not None
    inputs = (start.logps.clone().requires_grad_(), start.ref_logps.clone().requires_grad_())
    assert torch.autograd.gradcheck(losses, inputs)
    (own,) = torch.autograd.grad(losses(*inputs).sum(), inputs[0])
    assert own.sign().tolist() == [-1, 1, -1, 1, -1, 1]  # descent lifts the good and lowers the bad


def test_edges() -> None:
    at = stepped(singles([0, 0], [True, False]))
    assert bco(at).tolist() == pytest.approx([math.log(2)] * 2)
    far = stepped(singles([1000, -1000] * 2, [True, True, False, False]))
    far.logps.requires_grad_()
    losses = bco(far, beta=1.0)
    assert losses.tolist() == pytest.approx([0, 1000, 1000, 0])
    (gradient,) = torch.autograd.grad(losses.sum(), far.logps)
    assert gradient.tolist() == pytest.approx([0, -1, 1, 0])


def test_statistics_are_detached_and_missing_fields_named() -> None:
    given = random_singles(4)
    given.logps.requires_grad_()
    assert not any(v.requires_grad for v in statistics(given, {}).values())
    with pytest.raises(ValueError, match=r"good_count in Singles\.step"):
        bco(given)
    one = torch.tensor([-1.0])
    with pytest.raises(ValueError, match="ref_logps"):
        bco(Singles(one))
    with pytest.raises(ValueError, match="desirable"):
        statistics(Singles(one, one), {})
