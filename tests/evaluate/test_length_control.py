"""Length-controlled win rates: against scikit-learn's solution of the same problem, and on preferences whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from halign.errors import HalignError
from halign.evaluate.length_control import anchors_of, length_controlled, predicted_win_rate
from halign.evaluate.penalised import chosen_strength, instruction_difficulty, penalised_logistic


def simulated(rng, n=600, bias=0.0, length=1.5, difficulty=1.0, longer=400):
    """A model whose replies are longer by some 400 characters, judged by the law that is fitted."""
    g = rng.normal(size=n)
    base = rng.integers(500, 2000, size=n)
    d = rng.normal(longer, 500, size=n)
    chance = expit(bias + length * np.tanh(d / d.std(ddof=1)) + difficulty * g)
    return (rng.random(n) < chance).astype(float), base + d, base, g


def test_what_length_brings_is_taken_away():
    """Equal at equal length (bias 0, g symmetric), and won more often because of length."""
    y, a, b, g = simulated(np.random.default_rng(0))
    full = length_controlled(y, a, b, range(600), difficulty=g, resamples=30)
    assert full.model == "with_difficulty"
    assert full.win_rate.low > 0.55
    assert full.controlled.low < 0.5 < full.controlled.high
    assert full.weights["length"] == pytest.approx(1.5, abs=0.4)
    assert full.weights["difficulty"] == pytest.approx(1.0, abs=0.3)
    plain = length_controlled(y, a, b, range(600), resamples=5)
    assert (plain.model, set(plain.weights)) == ("plain", {"bias", "length"})
    assert plain.controlled.value == pytest.approx(expit(plain.weights["bias"]))
    assert plain.spread == pytest.approx(0, abs=1e-12)


def test_who_is_called_model_turns_the_win_rate_around():
    y, a, b, g = simulated(np.random.default_rng(1))
    x = length_controlled(y, a, b, range(600), difficulty=g, resamples=2)
    z = length_controlled(1 - y, b, a, range(600), difficulty=g, resamples=2)
    assert z.controlled.value == pytest.approx(1 - x.controlled.value, abs=1e-4)
    assert z.weights["length"] == pytest.approx(x.weights["length"], abs=1e-3)


def test_anchors_hold_the_length_term():
    """Verdicts that say that length is worth nothing pull the length term towards 0, by a fifth of their number."""
    rng = np.random.default_rng(2)
    y, a, b, g = simulated(rng, bias=0.5, longer=0)
    even = (np.full(600, 0.5), a, b)
    free = length_controlled(y, a, b, range(600), difficulty=g, resamples=2)
    held = length_controlled(
        y, a, b, range(600), difficulty=g, anchors=anchors_of([even, even], [g, g]), resamples=2
    )
    assert held.model == "full"
    assert 0 < held.weights["length"] < free.weights["length"]
    x = np.stack([np.ones(600), np.tanh((a - b) / (a - b).std(ddof=1)), g], 1)
    by_hand = penalised_logistic(
        np.concatenate([x * [0, 1, 1], x]),
        np.concatenate([even[0], y]),
        np.repeat([0.2, 1.0], 600),
        strength=1e4,
    )
    assert list(held.weights.values()) == pytest.approx(by_hand.tolist(), abs=0.02)


@pytest.mark.filterwarnings("ignore")  # its names for the penalty change
@pytest.mark.parametrize("strength", [0.05, 1.0, 100.0])
def test_the_penalised_optimum_is_scikit_learns(strength):
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(3)
    x, y, weight = rng.normal(size=(300, 3)), rng.random(300), rng.random(300)
    peer = linear.LogisticRegression(
        penalty="l1", C=strength, solver="liblinear", fit_intercept=False, tol=1e-9, max_iter=10000
    )
    peer.fit(np.concatenate([x, x]), np.repeat([1, 0], 300), np.concatenate([y * weight, (1 - y) * weight]))
    assert penalised_logistic(x, y, weight, strength=strength) == pytest.approx(peer.coef_[0], abs=1e-4)


def test_the_optimum_meets_its_conditions():
    """Where w is 0 the slope of the loss is within 1 of 0; elsewhere it is the opposite of w's sign."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 3))
    y = expit(1.0 * x[:, 0] + 0.02 * x[:, 1])
    w = penalised_logistic(x, y, np.ones(200), strength=0.3)
    slope = 0.3 * x.T @ (expit(x @ w) - y)
    assert slope[0] == pytest.approx(-1, abs=1e-4)
    assert w[1] == pytest.approx(0, abs=1e-8)
    assert abs(slope[1]) <= 1


def test_the_strength_is_chosen_on_rows_held_out():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(100, 2))
    assert (
        chosen_strength(x, np.full(100, 0.5), np.ones(100)) == 1e-4
    )  # nothing to learn: all alike, the smallest
    assert chosen_strength(x, expit(3 * x[:, 0]), np.ones(100)) > 1


def test_difficulty_is_found_from_many_models():
    rng = np.random.default_rng(6)
    g, d = rng.normal(size=80), rng.normal(size=(60, 80))
    y = (rng.random((60, 80)) < expit(rng.normal(size=(60, 1)) + np.tanh(d) + g)).astype(float)
    y[3, :5] = np.nan
    found = instruction_difficulty(y, d)
    assert np.corrcoef(found, g)[0, 1] > 0.9
    assert found.mean() == pytest.approx(0, abs=1e-9)


def test_a_model_against_itself_is_even():
    w = {"bias": 1.0, "length": 0.3, "difficulty": 2.0}
    assert predicted_win_rate(w, w, [0.3, -2.0]) == 0.5
    zero = dict.fromkeys(w, 0.0)
    assert predicted_win_rate(w, zero, [0.5, -0.5]) == pytest.approx((expit(2) + expit(0)) / 2)


def coverage(times, seed, resamples):
    rng, hits = np.random.default_rng(seed), []
    for _ in range(times):
        y, a, b, g = simulated(rng, n=400, bias=0.4)
        r = length_controlled(y, a, b, range(400), difficulty=g, resamples=resamples)
        truth = expit(0.4 + np.random.default_rng(0).normal(size=200_000)).mean()
        hits.append(r.controlled.low <= truth <= r.controlled.high)
    return np.mean(hits)


@pytest.mark.long
def test_the_interval_covers_as_often_as_it_says():
    assert 0.91 <= coverage(300, 7, 100) <= 0.985


def test_what_cannot_be_controlled_is_an_error():
    with pytest.raises(HalignError, match="differ in number"):
        length_controlled([1.0, 0.0], [1, 2], [1, 2], ["a"])
    with pytest.raises(HalignError, match="more than one way"):
        length_controlled([1.0, 0.0], [1, 2], [0, 1], ["a", "b"])
    with pytest.raises(HalignError, match="probabilities"):
        length_controlled([2.0, 0.0], [1, 2], [0, 3], ["a", "b"])
