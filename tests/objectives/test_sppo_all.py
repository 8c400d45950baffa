"""SPPO on all samples: numbers by hand, and the pair loss for two."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from halign.objectives import Lists, find, sppo, sppo_all
from tests.objectives.samples import FAR_LISTS, assert_list_gradients, lists, random_pairs

GIVEN = lists(
    [[-1.0, -5.0, -4.0], [-2.0, -3.0, 77.0]],
    ref_logps=[[-3.0, -2.0, -4.0], [-4.0, -3.0, -99.0]],
    rewards=[[0.9, 0.3, 0.3], [0.75, 0.25, 55.0]],
    mask=[[True, True, True], [True, True, False]],
)


def test_values_by_hand() -> None:
    """D = 2, -3, 0 against 4, -2, -2; then 2, 0 against 2.5, -2.5, and nothing in the third place."""
    want = [((2 - 4) ** 2 + (-3 + 2) ** 2 + (0 + 2) ** 2) / 3, ((2 - 2.5) ** 2 + (0 + 2.5) ** 2) / 2]
    assert sppo_all(GIVEN, beta=0.1).tolist() == pytest.approx(want, rel=1e-5)


def test_two_samples_are_a_pair() -> None:
    p = random_pairs(5)
    assert p.ref_chosen_logps is not None
    assert p.ref_rejected_logps is not None
    assert p.chosen_win_rate is not None
    assert p.rejected_win_rate is not None
    two = Lists(
        torch.stack([p.chosen_logps, p.rejected_logps], 1),
        torch.stack([p.ref_chosen_logps, p.ref_rejected_logps], 1),
        rewards=torch.stack([p.chosen_win_rate, p.rejected_win_rate], 1),
    )
    assert torch.allclose(sppo_all(two, beta=0.02), sppo(p, beta=0.02))
    ours, theirs = find("sppo_all").monitor, find("sppo").monitor
    assert ours
    assert theirs
    assert torch.equal(ours(two, beta=0.02)["sppo_unreachable"], theirs(p, beta=0.02)["sppo_unreachable"])


def test_far_away_is_finite() -> None:
    """D = 1000, 0, -1000 and the reverse, against 500, 0, -500."""
    want = [2 * 500**2 / 3, 2 * 1500**2 / 3]
    assert sppo_all(FAR_LISTS).tolist() == pytest.approx(want, rel=1e-5)


def test_gradients() -> None:
    assert_list_gradients(sppo_all, beta=0.1)


def test_the_share_out_of_reach_counts_only_who_is_there() -> None:
    """Targets 4, -2, -2 of which the first is above 3; then 2.5, -2.5: none above 4 and 3."""
    monitor = find("sppo_all").monitor
    assert monitor
    assert monitor(GIVEN, beta=0.1)["sppo_unreachable"].tolist() == pytest.approx([1 / 3, 0.0])
    assert monitor(GIVEN, beta=0.01)["sppo_unreachable"].tolist() == pytest.approx([1 / 3, 1 / 2])


def test_scores_are_no_win_rates() -> None:
    assert find("sppo_all").needs({}) == ("rewards",)
    with pytest.raises(ValueError, match=r"Lists\.rewards"):
        sppo_all(replace(GIVEN, rewards=None))
    with pytest.raises(ValueError, match=r"win rates. has to lie in \[0, 1\]"):
        sppo_all(replace(GIVEN, rewards=torch.full((2, 3), 4.0)))
    with pytest.raises(ValueError, match="ref_logps"):
        sppo_all(replace(GIVEN, ref_logps=None))
