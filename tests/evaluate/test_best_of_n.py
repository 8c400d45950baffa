"""Best-of-n, the optimum and win rates from a pool, against enumeration."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest

from halign.errors import HalignError
from halign.evaluate.frontier import best_of_n, best_of_n_kl, best_of_weights, jackknifed, tilted, win_rate

POOLS = {
    "distinct": ([0.3, 0.9, 0.1, 0.5, 0.7, 0.2], None),
    "ties": ([0.5, 1.0, 0.5, 0.0, 1.0, 0.5, 0.0], None),
    "by another": ([0.3, -1.2, 0.3, 2.0, 0.3, 1.1], [0.2, 0.9, 0.4, 0.1, 0.8, 0.6]),
}


def by_subsets(chosen_by, values, n):
    """The mean over all subsets; of the equal best of a subset, the mean."""
    found = []
    for subset in combinations(range(len(values)), n):
        top = max(chosen_by[i] for i in subset)
        found.append(np.mean([values[i] for i in subset if chosen_by[i] == top]))
    return np.mean(found)


@pytest.mark.parametrize("name", POOLS)
def test_best_of_n_is_the_mean_over_all_subsets(name):
    keys, values = POOLS[name]
    values = keys if values is None else values
    for n in range(1, len(keys) + 1):
        assert best_of_n(keys, values, n) == pytest.approx(by_subsets(keys, values, n), abs=1e-12)
    order = np.random.default_rng(0).permutation(len(keys))
    shuffled = best_of_n(np.array(keys)[order], np.array(values)[order], 3)
    assert shuffled == pytest.approx(best_of_n(keys, values, 3), abs=1e-12)


def test_best_of_n_is_unbiased_for_independent_draws():
    """Over all pools of four draws from three values, weighed by their probability."""
    p, r = (0.5, 0.3, 0.2), (0.0, 0.4, 1.0)
    for n in (1, 2, 3):
        mean = sum(
            math.prod(p[i] for i in pool) * best_of_n([r[i] for i in pool], [r[i] for i in pool], n)
            for pool in product(range(3), repeat=4)
        )
        truth = sum(math.prod(p[i] for i in d) * max(r[i] for i in d) for d in product(range(3), repeat=n))
        assert mean == pytest.approx(truth, abs=1e-12)


def test_weights_are_a_distribution_and_large_pools_do_not_overflow():
    for size, n in ((1, 1), (7, 3), (4096, 512)):
        weights = best_of_weights(size, n)
        assert weights.sum() == pytest.approx(1.0, abs=1e-9)
        assert (weights[: n - 1] == 0).all()
    with pytest.raises(HalignError, match="pool of at least 5"):
        best_of_weights(4, 5)
    with pytest.raises(HalignError, match="at least 1"):
        best_of_weights(4, 0)


def best_of_law(p, n):
    """The law of the best of n, of replies in increasing order of reward: F^n - F_before^n."""
    cumulative = np.concatenate([[0.0], np.cumsum(p)])
    return np.diff(cumulative**n)


def test_the_kl_bound_holds_and_is_met_where_replies_are_many():
    for n in (1, 2, 5, 16):
        coarse = np.array([0.5, 0.3, 0.2])
        law = best_of_law(coarse, n)
        assert float(law @ np.log(law / coarse)) <= best_of_n_kl(n) + 1e-12
        fine = np.full(20_000, 1 / 20_000)
        law = best_of_law(fine, n)
        assert float(law @ np.log(law / fine)) == pytest.approx(best_of_n_kl(n), abs=2e-3)


def exact(p, r, beta):
    """pi* of an enumerable distribution: (E[r], KL)."""
    star = p * np.exp(r / beta)
    star /= star.sum()
    return float(star @ r), float(star @ np.log(star / p))


@pytest.mark.parametrize("beta", [2.0, 0.3, 0.1])
def test_the_optimum_of_a_known_distribution(beta):
    """A pool in which every reply occurs in proportion is the distribution itself: exact."""
    counts, r = np.array([60, 25, 10, 5]), np.array([0.0, 0.3, 0.6, 1.0])
    found = tilted(np.repeat(r, counts), beta)
    reward, kl = exact(counts / 100, r, beta)
    assert found.reward == pytest.approx(reward, abs=1e-12)
    assert found.kl == pytest.approx(kl, abs=1e-12)
    w = np.repeat(np.exp(r / beta), counts)
    assert found.effective == pytest.approx(w.sum() ** 2 / (w**2).sum())


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_the_optimum_from_samples(beta):
    """Plain, it is too small on average; jackknifed, right within the error of 2,000 pools."""
    p, r = np.array([0.6, 0.25, 0.1, 0.05]), np.array([0.0, 0.3, 0.6, 1.0])
    truth = np.array(exact(p, r, beta))
    rng = np.random.default_rng(0)
    pools = [r[rng.choice(4, size=64, p=p)] for _ in range(2000)]
    plain, better = (
        np.array([(t.reward, t.kl) for t in (estimate(pool, beta) for pool in pools)])
        for estimate in (tilted, jackknifed)
    )
    error = plain.std(axis=0) / len(pools) ** 0.5
    assert (plain.mean(axis=0) < truth - 1.5 * error).all()
    assert (abs(plain.mean(axis=0) - truth) < [0.03, 0.08]).all()
    assert (abs(better.mean(axis=0) - truth) < 3 * error).all()


def test_the_jackknife_leaves_each_sample_out():
    true, learned = np.random.default_rng(2).random((2, 5))
    without = [np.delete(np.stack([true, learned]), j, axis=1) for j in range(5)]
    for by in (None, learned):
        each = [tilted(t, 0.3, None if by is None else b) for t, b in without]
        whole, found = tilted(true, 0.3, by), jackknifed(true, 0.3, by)
        assert found.reward == pytest.approx(5 * whole.reward - 4 * np.mean([t.reward for t in each]))
        assert found.kl == pytest.approx(5 * whole.kl - 4 * np.mean([t.kl for t in each]))
        assert found.effective == whole.effective
    with pytest.raises(HalignError, match="pool"):
        jackknifed([1.0], 0.3)


def test_nothing_beats_the_optimum():
    """Of any distribution over the pool with as much KL or less, none has a higher reward."""
    rng = np.random.default_rng(1)
    rewards = rng.random(6)
    best = tilted(rewards, 0.2)
    for _ in range(2000):
        q = rng.dirichlet(np.full(6, 0.7))
        kl = float(q @ np.log(np.maximum(q, 1e-300) * 6))
        assert kl > best.kl or q @ rewards <= best.reward + 1e-9


def test_the_optimum_of_another_reward():
    true, learned = np.array([0.0, 1.0, 0.5]), np.array([2.0, 0.0, 1.0])
    found = tilted(true, 1.0, learned)
    w = np.exp(learned) / np.exp(learned).sum()
    assert found.reward == pytest.approx(w @ true)
    assert found.kl == pytest.approx(w @ np.log(3 * w))
    assert tilted(true, 1e-3).reward == pytest.approx(1.0)  # no overflow, and 0 log 0 = 0
    assert tilted(true, 1e-3).kl == pytest.approx(math.log(3))
    with pytest.raises(HalignError, match="beta"):
        tilted(true, 0.0)


def test_win_rates_count_ties_half():
    assert win_rate(1.0, [1.0, 1.0]) == 0.5
    assert win_rate(1.0, [0.0, 1.0, 2.0]) == 0.5
    assert win_rate(0.0, [0.0, 1.0, 2.0]) == pytest.approx(1 / 6)
