"""AOT: numbers by hand, TRL's, and that the split of a step does not matter."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from halign.objectives import Pairs, aot
from halign.objectives.aot import statistics
from tests.objectives import peers
from tests.objectives.samples import assert_gradients, assert_stable, pairs, random_pairs


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def stepped(given: Pairs) -> Pairs:
    return replace(given, step=statistics(given))


def part(given: Pairs, chosen: slice | Tensor) -> Pairs:
    """Some of the pairs; what is known of the step stays."""
    return replace(given, **{k: v[chosen] for k, v in vars(given).items() if isinstance(v, Tensor)})


def sorted_at_once(given: Pairs, paired: bool, beta: float) -> Tensor:
    """The loss over the whole step, plainly."""
    assert given.ref_chosen_logps is not None
    assert given.ref_rejected_logps is not None
    if paired:
        u, v = given.chosen_logps - given.rejected_logps, given.ref_chosen_logps - given.ref_rejected_logps
    else:
        u, v = given.chosen_logps - given.ref_chosen_logps, given.rejected_logps - given.ref_rejected_logps
    return torch.nn.functional.softplus(-beta * (u.sort().values - v.sort().values)).sum()


# Gaps 4, -2, 1 under the policy, -1, 1, 3 under the reference; Dw = 2, -3, 0 and Dl = -3, 0, 2.
BY_HAND = ([-1, -4, -1], [-5, -2, -2], [-3, -1, -1], [-2, -2, -4])


def test_values_by_hand_paired() -> None:
    """Ranks of 4, -2, 1 are 3, 1, 2; the reference has 3, -1, 1 there."""
    given = stepped(pairs(*BY_HAND))
    want = [softplus(-0.1 * (4 - 3)), softplus(-0.1 * (-2 + 1)), softplus(-0.1 * (1 - 1))]
    assert aot(given).tolist() == pytest.approx(want)
    want = [0.8 * softplus(-g) + 0.2 * softplus(g) for g in (1, -1, 0)]
    assert aot(given, beta=1.0, label_smoothing=0.2).tolist() == pytest.approx(want)


def test_values_by_hand_unpaired() -> None:
    """Chosen -3, 0, 2 against rejected -3, 0, 2: nothing between them at any rank, so ln 2. Lifting all rejected by 1 makes
    every gap -1, and each pair's loss the mean of its two halves."""
    given = pairs(*BY_HAND)
    assert aot(stepped(given), paired=False).tolist() == pytest.approx([math.log(2)] * 3)
    lifted = stepped(replace(given, rejected_logps=given.rejected_logps + 1))
    assert aot(lifted, paired=False).tolist() == pytest.approx([softplus(0.1)] * 3)


def test_values_by_hand_unpaired_with_different_gaps() -> None:
    """Dw = 2, -3 against Dl = 1, 0: gaps by rank are 2 - 1 and -3 - 0. The first pair holds both upper ranks, the second
    both lower."""
    given = stepped(pairs([-1, -4], [-1, -2], [-3, -1], [-2, -2]))
    assert aot(given, paired=False).tolist() == pytest.approx([softplus(-0.1), softplus(0.3)])
    crossed = stepped(pairs([-1, -4], [-2, -1], [-3, -1], [-2, -2]))
    mean = (softplus(-0.1) + softplus(0.3)) / 2
    assert aot(crossed, paired=False).tolist() == pytest.approx([mean, mean])


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("packs", [[7], [3, 4], [1] * 7])
def test_packs_add_up_to_the_step_sorted_at_once(paired: bool, packs: list[int]) -> None:
    given = random_pairs(7, torch.float64)
    inputs = (given.chosen_logps.requires_grad_(), given.rejected_logps.requires_grad_())
    whole = sorted_at_once(given, paired, 0.7)
    want = torch.autograd.grad(whole, inputs)
    parts = [
        part(stepped(given), rows)
        for rows in torch.randperm(7, generator=torch.Generator().manual_seed(1)).split(packs)
    ]
    total = torch.stack([aot(p, beta=0.7, paired=paired).sum() for p in parts]).sum()
    assert total.item() == pytest.approx(whole.item(), rel=1e-12)
    for found, right in zip(torch.autograd.grad(total, inputs), want, strict=True):
        assert torch.allclose(found, right, rtol=1e-12, atol=0)


@pytest.mark.parametrize("paired", [True, False])
def test_a_response_in_several_pairs_learns_as_if_sorted_at_once(paired: bool) -> None:
    """Equal values share their ranks: the same total, and the same gradient for the response that they come from."""
    start = random_pairs(6, torch.float64)
    assert start.ref_chosen_logps is not None
    one = start.chosen_logps[:1].clone().requires_grad_()
    same = torch.tensor([0, 0, 0])
    given = replace(
        start,
        chosen_logps=torch.cat([one[same], start.chosen_logps[3:]]),
        ref_chosen_logps=torch.cat([start.ref_chosen_logps[same], start.ref_chosen_logps[3:]]),
    )
    if paired:  # a tie of gaps needs the same rejected response, too
        given = replace(
            given,
            rejected_logps=start.rejected_logps[torch.tensor([0, 0, 0, 3, 4, 5])],
        )
    whole = sorted_at_once(given, paired, 0.7)
    (want,) = torch.autograd.grad(whole, one, retain_graph=True)
    losses = aot(stepped(given), beta=0.7, paired=paired)
    assert losses.sum().item() == pytest.approx(whole.item(), rel=1e-12)
    (found,) = torch.autograd.grad(losses.sum(), one)
    assert found.item() == pytest.approx(want.item(), rel=1e-12)


def test_gradients() -> None:
    """Paired with statistics held, unpaired with statistics that follow, as the value is then that of the whole step."""
    start = random_pairs(5, torch.float64)
    assert_gradients(aot, {"step": statistics(start)})  # type: ignore[dict-item]
    assert_gradients(aot, {"step": statistics(start)}, beta=0.7, label_smoothing=0.2)  # type: ignore[dict-item]

    def total(chosen: Tensor, rejected: Tensor) -> Tensor:
        given = replace(start, chosen_logps=chosen, rejected_logps=rejected)
        return aot(stepped(given), beta=0.7, paired=False, label_smoothing=0.2).sum()

    inputs = (start.chosen_logps.clone().requires_grad_(), start.rejected_logps.clone().requires_grad_())
    assert torch.autograd.gradcheck(total, inputs)


@pytest.mark.parametrize("paired", [True, False])
def test_edges(paired: bool) -> None:
    assert_stable(aot, statistics, paired=paired)
    assert_stable(aot, statistics, paired=paired, beta=5.0, label_smoothing=0.2)
    at = stepped(pairs([-7, -3], [-9, -4], [-7, -3], [-9, -4]))
    assert aot(at, paired=paired).tolist() == pytest.approx([math.log(2)] * 2)


@pytest.mark.parametrize("paired", [True, False])
def test_a_second_forward_may_round_differently(paired: bool) -> None:
    given = stepped(random_pairs(7))
    again = replace(given, chosen_logps=given.chosen_logps + 1e-5, rejected_logps=given.rejected_logps - 1e-5)
    assert torch.allclose(aot(again, paired=paired), aot(given, paired=paired), atol=1e-4)


def test_statistics_are_detached_and_missing_ones_named() -> None:
    given = random_pairs(4)
    given.chosen_logps.requires_grad_()
    assert not any(v.requires_grad for v in statistics(given).values())
    with pytest.raises(ValueError, match=r"policy_gaps in Pairs\.step"):
        aot(given)
    with pytest.raises(ValueError, match="chosen_log_ratios"):
        aot(given, paired=False)


def test_trl_computes_the_same_on_one_batch() -> None:
    given = random_pairs(6)
    for beta, e in ((0.1, 0.0), (1.3, 0.2)):
        for kind, paired in (("aot", True), ("aot_unpaired", False)):
            theirs = peers.dpo_trainer_loss(given, kind, beta, e)
            ours = aot(stepped(given), beta=beta, paired=paired, label_smoothing=e)
            assert torch.allclose(ours.mean(), theirs, rtol=1e-5)
