"""RRHF: numbers by hand, with scores and without."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from halign.objectives import Lists, rrhf
from tests.objectives.samples import FAR_LISTS, assert_list_gradients, lists, random_lists

GIVEN = lists(
    [[-6.0, -2.0, -8.0], [-9.0, -4.0, 50.0]],
    lengths=[[2.0, 2.0, 4.0], [3.0, 4.0, 1.0]],
    rewards=[[0.9, 0.5, 0.1], [0.2, 0.7, 9.0]],
    mask=[[True, True, True], [True, True, False]],
)


def by_hand(given: Lists, penalty: float, weight: float) -> list[float]:
    """The formula in plain loops."""
    result = []
    assert given.lengths is not None
    for k, logps in enumerate(given.logps.tolist()):
        n = given.lengths[k].tolist()
        there = [i for i in range(len(logps)) if given.mask is None or given.mask[k, i]]
        if given.rewards is not None:
            r = given.rewards[k].tolist()
        else:
            r = [
                -x for x in (given.ranks[k].tolist() if given.ranks is not None else range(1, len(logps) + 1))
            ]
        p = [s / m**penalty for s, m in zip(logps, n, strict=True)]
        loss = sum(max(0.0, p[i] - p[j]) for i in there for j in there if r[i] < r[j])
        first = max(there, key=lambda i: r[i])  # of equals the first
        result.append(loss - weight * logps[first])
    return result


def test_values_by_hand() -> None:
    """p = -3, -1, -2: the best is below the second by 2 and below the worst by 1, and -s of it is 6. Then p = -3, -1, where the
    second is the better: no violation, and 4. Written out once, and by the loops that the other tests use."""
    assert rrhf(GIVEN).tolist() == pytest.approx([2 + 1 + 6, 4])
    assert by_hand(GIVEN, 1.0, 1.0) == pytest.approx([9, 4])
    assert rrhf(GIVEN, length_penalty=0.0, sft_weight=0.5).tolist() == pytest.approx([4 + 3, 2])


def test_by_rank_where_there_are_no_scores() -> None:
    """In the second list the first is the better now: 2 and 9."""
    ranked = replace(GIVEN, rewards=None)
    assert rrhf(ranked).tolist() == pytest.approx([9, 2 + 9])
    turned = replace(ranked, ranks=torch.tensor([[3.0, 2.0, 1.0], [2.0, 1.0, 0.0]]))
    assert rrhf(turned).tolist() == pytest.approx([1 + 8, 4])


def test_equals_are_not_compared_and_the_first_of_them_is_imitated() -> None:
    tied = replace(GIVEN, rewards=torch.tensor([[0.9, 0.9, 0.1], [0.5, 0.5, 0.0]]))
    assert rrhf(tied).tolist() == pytest.approx([1 + 6, 9])
    assert rrhf(replace(GIVEN, rewards=None, ranks=torch.ones(2, 3))).tolist() == pytest.approx([6, 9])


def test_against_plain_loops() -> None:
    for given in (random_lists(6), replace(random_lists(6, width=5, seed=1), rewards=None)):
        for penalty, weight in ((1.0, 1.0), (0.6, 0.2)):
            ours = rrhf(given, length_penalty=penalty, sft_weight=weight)
            assert ours.tolist() == pytest.approx(by_hand(given, penalty, weight), rel=1e-4)


def test_far_away() -> None:
    assert rrhf(FAR_LISTS).tolist() == pytest.approx([10, 100 + 200 + 100 + 2010])


def test_gradients() -> None:
    assert_list_gradients(rrhf)
    assert_list_gradients(rrhf, length_penalty=0.5, sft_weight=0.1)


def test_a_missing_length_is_named() -> None:
    with pytest.raises(ValueError, match="lengths"):
        rrhf(Lists(torch.zeros(1, 2)))
