"""Plackett-Luce DPO: numbers by hand, ties, and DPO for two responses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from halign.objectives import Lists, dpo, dpo_pro
from tests.objectives.samples import FAR_LISTS, assert_list_gradients, lists, random_lists, random_pairs


def by_hand(given: Lists, beta: float, best_of: bool, weight: float) -> list[float]:
    """The formula in plain loops, on lists that stand best first."""
    result = []
    assert given.ref_logps is not None
    for row, logps in enumerate(given.logps.tolist()):
        d = [beta * (s - r) for s, r in zip(logps, given.ref_logps[row].tolist(), strict=True)]
        count = len(d) if given.mask is None else int(given.mask[row].sum())
        ranks = given.ranks[row].tolist() if given.ranks is not None else range(1, len(d) + 1)
        loss = -weight * logps[0]
        for k in range(1 if best_of else count):
            among = [d[k]] + [d[i] for i in range(k + 1, count) if ranks[i] > ranks[k]]
            loss -= d[k] - math.log(sum(map(math.exp, among)))
        result.append(loss)
    return result


THREE = lists([[-1.0, -5.0, -4.0]], ref_logps=[[-3.0, -2.0, -4.0]])
"""D = 2, -3, 0."""


def test_values_by_hand() -> None:
    first = -math.log(math.exp(0.2) / (math.exp(0.2) + math.exp(-0.3) + 1))
    second = -math.log(math.exp(-0.3) / (math.exp(-0.3) + 1))
    assert dpo_pro(THREE).tolist() == pytest.approx([first + second])
    assert dpo_pro(THREE, best_of=True).tolist() == pytest.approx([first])
    assert dpo_pro(THREE, sft_weight=0.5).tolist() == pytest.approx([first + second + 0.5])


def test_against_plain_loops() -> None:
    for given in (random_lists(6), random_lists(6, width=6, seed=1), replace(random_lists(3), ranks=None)):
        for beta, best_of, weight in ((0.1, False, 0.0), (0.8, True, 0.0), (0.3, False, 0.2)):
            ours = dpo_pro(given, beta=beta, best_of=best_of, sft_weight=weight)
            assert ours.tolist() == pytest.approx(by_hand(given, beta, best_of, weight), rel=1e-4)


def test_equals_are_left_out_of_each_others_denominator() -> None:
    tied = replace(THREE, ranks=torch.tensor([[1.0, 1.0, 3.0]]))
    want = sum(-math.log(math.exp(d) / (math.exp(d) + 1)) for d in (0.2, -0.3))
    assert dpo_pro(tied).tolist() == pytest.approx([want])
    assert dpo_pro(replace(THREE, ranks=torch.ones(1, 3))).tolist() == [0.0]


def test_two_responses_are_dpo() -> None:
    p = random_pairs(6)
    assert p.ref_chosen_logps is not None
    assert p.ref_rejected_logps is not None
    two = Lists(
        torch.stack([p.chosen_logps, p.rejected_logps], 1),
        torch.stack([p.ref_chosen_logps, p.ref_rejected_logps], 1),
    )
    for beta in (0.1, 1.5):
        for best_of in (False, True):
            assert torch.allclose(dpo_pro(two, beta=beta, best_of=best_of), dpo(p, beta=beta), atol=1e-6)


def test_every_order_has_a_probability_and_they_add_up_to_one() -> None:
    from itertools import permutations

    orders = [torch.tensor([order]) for order in permutations((1.0, 2.0, 3.0))]
    total = sum(math.exp(-dpo_pro(replace(THREE, ranks=ranks), beta=0.7).item()) for ranks in orders)
    assert total == pytest.approx(1.0, rel=1e-5)


def test_at_the_reference_and_far_away() -> None:
    at = lists([[-5.0, -6.0, -7.0, -8.0]], ref_logps=[[-5.0, -6.0, -7.0, -8.0]])
    assert dpo_pro(at).item() == pytest.approx(math.log(24), rel=1e-6)
    assert dpo_pro(at, best_of=True).item() == pytest.approx(math.log(4), rel=1e-6)
    assert dpo_pro(FAR_LISTS, beta=1.0).tolist() == pytest.approx([0.0, 2000.0 + 1000.0])


def test_gradients() -> None:
    assert_list_gradients(dpo_pro, beta=0.3)
    assert_list_gradients(dpo_pro, beta=0.3, best_of=True, sft_weight=0.1)


def test_a_missing_reference_is_named() -> None:
    with pytest.raises(ValueError, match="ref_logps"):
        dpo_pro(Lists(torch.zeros(1, 2)))
