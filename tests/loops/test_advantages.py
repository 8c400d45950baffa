"""Advantages by hand, against sums written out, and against what they are for: unbiased gradients on a bandit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from halign.loops import advantages as a

RNG = np.random.default_rng(0)


def test_token_rewards_by_hand() -> None:
    """-beta (log pi - log ref) = -.5 (1) and -.5 (-2); the score 3 comes on top of the last."""
    found = a.token_rewards(np.array([-1.0, -3.0]), np.array([-2.0, -1.0]), 3.0, 0.5)
    assert found.tolist() == [-0.5, 4.0]


@pytest.mark.parametrize(("discount", "gae_lambda"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_gae_is_its_sum(discount: float, gae_lambda: float) -> None:
    """sum_l (gamma lambda)^l delta_{t+l}, written out token by token."""
    rewards, values = RNG.normal(size=6), RNG.normal(size=6)
    ahead = [*values[1:], 0.0]
    delta = [rewards[t] + discount * ahead[t] - values[t] for t in range(6)]
    expected = [sum((discount * gae_lambda) ** (u - t) * delta[u] for u in range(t, 6)) for t in range(6)]
    found, returns = a.gae(rewards, values, discount=discount, gae_lambda=gae_lambda)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(returns, np.array(expected) + values)


def test_gae_with_lambda_one_is_return_less_value() -> None:
    rewards, values = RNG.normal(size=4), RNG.normal(size=4)
    found, returns = a.gae(rewards, values, discount=1.0, gae_lambda=1.0)
    np.testing.assert_allclose(returns, [rewards[t:].sum() for t in range(4)])
    np.testing.assert_allclose(found, returns - values)


def test_gae_of_a_true_critic_is_zero() -> None:
    """V_t = sum of what comes: every delta is zero."""
    rewards = RNG.normal(size=5)
    values = np.array([rewards[t:].sum() for t in range(5)])
    found, _ = a.gae(rewards, values, discount=1.0, gae_lambda=0.95)
    np.testing.assert_allclose(found, 0.0, atol=1e-12)


def test_whitening_by_hand() -> None:
    """Mean 2, population variance 8/3; the mean is put back where it is not shifted."""
    parts = [np.array([0.0, 2.0]), np.array([4.0])]
    spread = (8 / 3) ** 0.5
    np.testing.assert_allclose(np.concatenate(a.whiten(parts)), np.array([-2, 0, 2]) / spread, atol=1e-7)
    kept = np.concatenate(a.whiten(parts, shift_mean=False))
    np.testing.assert_allclose(kept, np.array([-2, 0, 2]) / spread + 2, atol=1e-7)


def test_rewards_that_are_all_alike_give_zeros_and_no_nan() -> None:
    same = np.full(4, 0.7)
    assert a.whiten([same])[0].tolist() == [0.0] * 4
    assert a.leave_one_out(same, [0, 0, 1, 1]).tolist() == [0.0] * 4
    for scale in ("group", "none", "batch"):
        assert a.group_relative(same, [0, 0, 1, 1], scale=scale).tolist() == [0.0] * 4


def test_groups_by_hand() -> None:
    """(1, 4, 4) has mean 3 and sample deviation sqrt(3); the batch's is that of all five."""
    rewards, groups = np.array([1.0, 7.0, 4.0, 9.0, 4.0]), [5, 2, 5, 2, 5]
    np.testing.assert_allclose(a.leave_one_out(rewards, groups), [-3.0, -2.0, 1.5, 2.0, 1.5])
    np.testing.assert_allclose(a.group_relative(rewards, groups, scale="none"), [-2, -1, 1, 1, 1])
    expected = [-2 / (3**0.5 + 1e-4), -1 / (2**0.5 + 1e-4), 1 / (3**0.5 + 1e-4), 1 / (2**0.5 + 1e-4)]
    np.testing.assert_allclose(a.group_relative(rewards, groups)[:4], expected)
    # mean 5: deviations -4, 2, -1, 4, -1, sum of squares 38 over 4
    batch = (38 / 4) ** 0.5 + 1e-4
    np.testing.assert_allclose(
        a.group_relative(rewards, groups, scale="batch"), np.array([-2, -1, 1, 1, 1]) / batch
    )


def test_the_unscaled_group_is_a_share_of_leave_one_out() -> None:
    rewards, groups = RNG.normal(size=12), [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_allclose(
        a.group_relative(rewards, groups, scale="none"), 3 / 4 * a.leave_one_out(rewards, groups)
    )


def test_groups_of_one_are_refused() -> None:
    for function in (a.leave_one_out, a.group_relative):
        with pytest.raises(ValueError, match="group of one"):
            function(np.ones(3), [0, 0, 1])


def test_scores_are_cut_at_both_ends() -> None:
    assert a.clip_scores(np.array([-3.0, 0.5, 3.0]), 1.0).tolist() == [-1.0, 0.5, 1.0]
    assert a.clip_scores(np.array([-3.0]), None).tolist() == [-3.0]


def test_the_running_baseline_is_the_decayed_mean_of_the_batches_before() -> None:
    memory, means = (0.0, 0.0), []
    for batch in range(5):
        rewards = RNG.normal(size=3) + batch
        advantages, memory = a.running_baseline(rewards, memory, decay=0.8)
        if means:
            weights = [0.8 ** (batch - 1 - j) for j in range(batch)]
            np.testing.assert_allclose(advantages, rewards - np.average(means, weights=weights))
        else:
            np.testing.assert_allclose(advantages, a.leave_one_out(rewards, [0, 0, 0]))
        means.append(rewards.mean())
    assert a.running_baseline(np.array([2.0]), (0.0, 0.0), decay=1.0)[0].tolist() == [0.0]


ARMS = np.array([1.0, 0.9, -2.0])
"""Rewards of a bandit's arms."""


def expected_gradient(advantage, draws: int) -> torch.Tensor:
    """E[mean_i A_i grad log pi(y_i)] over every tuple of draws, with its probability: exact."""
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64)
    pi = logits.softmax(0)
    total = torch.zeros(3, dtype=torch.float64)
    for arms in itertools.product(range(3), repeat=draws):
        chosen = list(arms)
        weight = torch.prod(pi[chosen])
        score = torch.eye(3, dtype=torch.float64)[chosen] - pi  # grad log pi of each draw
        total += weight * (torch.from_numpy(advantage(ARMS[chosen]))[:, None] * score).mean(0)
    return total


def true_gradient() -> torch.Tensor:
    """d/d logits of E[r]."""
    logits = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    (logits.softmax(0) @ torch.from_numpy(ARMS)).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize(
    ("advantage", "factor"),
    [
        (lambda r: a.leave_one_out(r, [0] * len(r)), 1.0),
        (lambda r: a.group_relative(r, [0] * len(r), scale="none"), 2 / 3),
        (lambda r: a.running_baseline(r, (0.0, 0.0), decay=0.9)[0], 1.0),
        (lambda r: a.running_baseline(r, (0.6, 2.0), decay=0.9)[0], 1.0),
    ],
    ids=["leave_one_out", "group_unscaled", "first_batch", "later_batch"],
)
def test_expected_gradients_on_a_bandit(advantage, factor: float) -> None:
    """Over all 27 draws of three the mean gradient is the true one; the group's own mean shrinks it by (k - 1) / k."""
    torch.testing.assert_close(expected_gradient(advantage, 3), factor * true_gradient())


def test_a_scaled_group_has_another_gradient() -> None:
    """Dividing by the group's own deviation is no unbiased estimate of anything times a constant: it favours groups that differ
    little. Its direction on this bandit is not the true gradient's."""
    scaled = expected_gradient(lambda r: a.group_relative(r, [0] * len(r)), 3)
    cosine = torch.nn.functional.cosine_similarity(scaled, true_gradient(), dim=0)
    assert 0.9 < float(cosine) < 0.9999


def test_explained_variance_by_hand() -> None:
    """Residuals (-1, 1) have variance 1, returns (0, 4) have 4."""
    assert a.explained_variance(np.array([1.0, 3.0]), np.array([0.0, 4.0])) == 0.75
    assert a.explained_variance(np.zeros(3), np.ones(3)) == 0.0
