"""Rejection sampling against the distribution it aims at, by enumeration; pairs; and where learning them leads."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom, chisquare

from halign.errors import HalignError
from halign.loops import run
from halign.loops.rso import Settings, bracket, exact, rso, shortlist, to_ask, without_replacement
from halign.models import load
from halign.readers import read
from tests.loops.answering import COMMON, Says, demonstrations
from tests.loops.groups import group, words

REWARDS = np.array([-0.4, 0.0, 0.5, 0.9])
BASE = np.array([0.4, 0.3, 0.2, 0.1])
BETA = 0.5
TARGET = BASE * np.exp(REWARDS / BETA) / (BASE * np.exp(REWARDS / BETA)).sum()
"""pi_r on a language of four replies."""


def drawn(rng: np.random.Generator, k: int) -> tuple[np.ndarray, list[float]]:
    kinds = rng.choice(len(BASE), size=k, p=BASE)
    return kinds, [float(r) for r in REWARDS[kinds]]


@pytest.mark.parametrize("bound", [0.9, 1.2])
def test_the_exact_rule_draws_from_the_optimal_policy(bound: float) -> None:
    """Chi-square against pi_r, also where the bound is never reached."""
    rng = np.random.default_rng(0)
    counts = np.zeros(len(BASE))
    for _ in range(3000):
        kinds, rewards = drawn(rng, 16)
        np.add.at(counts, kinds[exact(rewards, 2, BETA, bound, rng)], 1)
    assert chisquare(counts, TARGET * counts.sum()).pvalue > 0.01
    assert abs(counts / counts.sum() - TARGET).sum() / 2 < 0.02
    assert chisquare(counts, BASE * counts.sum()).pvalue < 1e-9  # and not from the model at hand


def test_acceptance_is_as_often_as_the_formula_says() -> None:
    rng = np.random.default_rng(1)
    kept = sum(bool(exact([0.3], 1, BETA, 1.0, rng)) for _ in range(4000))
    assert kept / 4000 == pytest.approx(math.exp((0.3 - 1.0) / BETA), abs=0.02)


def test_a_bound_that_is_none_is_named() -> None:
    with pytest.raises(HalignError, match=r"bound=1 is no bound.*1\.5"):
        exact([1.5], 1, BETA, 1.0, np.random.default_rng(0))
    for wrong in ({"accept": "exact"}, {"bound": 1.0}):
        with pytest.raises(ValueError, match="accept=exact needs bound"):
            Settings(**wrong)


def share_of_good(k: int, n: int, p: float, beta: float) -> float:
    """E[good replies kept] / n without replacement, where a reply has reward 1 with probability p, else 0, by enumeration.

    The first pass keeps every good one (they are the highest) and each other one with exp(-1 / beta). If that is more than n,
    which of them go is up to the order of the draws, so all are as likely. If fewer, no good one is left to be added.
    """
    a, total = math.exp(-1 / beta), 0.0
    for good in range(1, k + 1):
        for others in range(k - good + 1):
            weight = binom.pmf(good, k, p) * binom.pmf(others, k - good, a)
            passed = good + others
            total += weight * (good * n / passed if passed > n else good)
    return total / n


RARE = 0.05
RARE_TARGET = RARE * math.exp(1 / BETA) / (RARE * math.exp(1 / BETA) + 1 - RARE)


@pytest.mark.parametrize(("k", "n", "bias"), [(8, 2, 0.1085), (64, 8, 0.0059)])
def test_the_published_rule_is_biased_as_enumeration_says(k: int, n: int, bias: float) -> None:
    expected = share_of_good(k, n, RARE, BETA)
    assert RARE_TARGET - expected == pytest.approx(
        bias, abs=0.0001
    )  # of two kinds, this is the total variation
    rng = np.random.default_rng(2)
    rounds = 6000 if k == 8 else 1500
    shares = []
    for _ in range(rounds):
        rewards = [float(good) for good in rng.random(k) < RARE]
        kept = without_replacement(rewards, n, BETA, rng)
        assert len(kept) == n == len(set(kept))
        shares.append(sum(rewards[i] for i in kept) / n)
    error = float(np.std(shares)) / rounds**0.5
    assert np.mean(shares) == pytest.approx(expected, abs=3.5 * error)


def test_large_beta_keeps_anything_small_beta_the_best() -> None:
    rng = np.random.default_rng(3)
    rewards = [0.0, 3.0, 1.0, 2.0]
    assert without_replacement(rewards, 2, 1e-6, rng) == [1, 3]
    assert len(without_replacement(rewards, 9, 0.5, rng)) == 4
    assert without_replacement(rewards, 3, 1e9, rng) == [0, 1, 2]
    assert without_replacement([], 3, 0.5, rng) == exact([], 3, 0.5, 0.0, rng) == []


def test_pairs_of_the_first_round_and_of_a_tournament() -> None:
    best = [0.1, 0.9, 0.5, 0.7, 0.3]

    def known(i: int, j: int) -> float | None:
        return float(best[i] > best[j])

    assert bracket([0, 1, 2, 3, 4], known, "first_round") == ([(0, 1), (2, 3)], [])
    assert bracket([0, 1, 2, 3, 4], known, "tournament") == ([(0, 1), (2, 3), (1, 3), (1, 4)], [])
    asked = {(0, 1): 0.2}
    assert bracket([0, 1, 2, 3], lambda i, j: asked.get((i, j)), "tournament") == ([(0, 1)], [(2, 3)])


KEEP = {"kept": 4, "beta": 1e-6, "accept": "without_replacement", "bound": None}


def test_the_kept_are_paired_and_labelled_by_reward() -> None:
    one = group("a", "b", "c", "d", "e", "f", rewards=(1, 2, 3, 4, 5, 6))
    assert sorted(shortlist(one, **KEEP)) == [2, 3, 4, 5]
    assert shortlist(one, **KEEP) == shortlist(one, **KEEP)
    made = rso([one], pairing="tournament", **KEEP)
    assert made.dropped == {"replies that were rejected": 2}
    assert len(made.examples) == 3
    for chosen, rejected in words(made.examples):
        assert chosen > rejected  # rewards are alphabetical
    assert words(made.examples)[-1][0] == "f"  # who is best wins
    (soft, *_) = rso([one], labels="soft", **KEEP).examples
    gap = ord(soft.chosen.content) - ord(soft.rejected.content)
    assert soft.preference == pytest.approx(1 / (1 + math.exp(-gap)))


def test_preferences_label_against_the_reward_and_are_asked_only_what_is_needed() -> None:
    one = group("a", "b", "c", "d", "e", "f", rewards=(1, 2, 3, 4, 5, 6), beats={})
    asked = to_ask(one, pairing="tournament", **KEEP)
    assert len(asked) == 2
    answers = dict.fromkeys(asked, 0.0)  # the second wins
    (final,) = to_ask(group(*one.replies, rewards=one.rewards, beats=answers), pairing="tournament", **KEEP)
    assert final == tuple(j for _, j in asked)
    answers[final] = 1.0
    done = group(*one.replies, rewards=one.rewards, beats=answers)
    assert to_ask(done, pairing="tournament", **KEEP) == []
    made = rso([done], pairing="tournament", **KEEP)
    assert words(made.examples) == [
        *((one.replies[j], one.replies[i]) for i, j in asked),
        (one.replies[final[0]], one.replies[final[1]]),
    ]


@pytest.mark.parametrize("judged", ["reward", "preferences"])
def test_it_raises_the_reward(judged: str, answering, tmp_path) -> None:
    from halign.rewards.protocol import ByReward

    ran = run(
        "rso",
        load(answering),
        demonstrations(32, start=200),
        reward=Says(),
        preferences=ByReward(Says()) if judged == "preferences" else None,
        evaluation=demonstrations(48, start=500),
        output=tmp_path / "run",
        samples=8,
        kept=4,
        **COMMON,
    )
    assert ran.last["gain_low"] > 0.05
    for pair in read(tmp_path / "run" / "rounds" / "1" / "data.jsonl"):
        assert "yes" in pair.chosen.content
        assert "yes" not in pair.rejected.content
