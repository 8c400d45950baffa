"""pass^k and pass@k against enumeration of all subsets of the runs, and against what they estimate."""

from itertools import combinations

import numpy as np
import pytest

from halign.dialogues.passing import all_of, any_of, curves
from halign.errors import HalignError
from halign.evaluate import mean


@pytest.mark.parametrize("runs", [1, 4, 6])
def test_shares_of_all_subsets_of_the_runs(runs):
    for held in range(runs + 1):
        outcomes = [True] * held + [False] * (runs - held)
        for k in range(1, runs + 1):
            subsets = list(combinations(outcomes, k))
            assert all_of(held, runs, k) == pytest.approx(np.mean([all(s) for s in subsets]))
            assert any_of(held, runs, k) == pytest.approx(np.mean([any(s) for s in subsets]))


def test_no_bias():
    """The mean of C(c, 3) / C(5, 3) over binomial c is p^3, that of pass@3 is 1 - (1 - p)^3; c/n to the third is not."""
    p, n, k = 0.7, 5, 3
    from scipy.stats import binom

    chances = binom.pmf(range(n + 1), n, p)
    assert sum(chances * [all_of(c, n, k) for c in range(n + 1)]) == pytest.approx(p**k)
    assert sum(chances * [any_of(c, n, k) for c in range(n + 1)]) == pytest.approx(1 - (1 - p) ** k)
    assert sum(chances * [(c / n) ** k for c in range(n + 1)]) != pytest.approx(p**k)


def test_scenarios_are_averaged_and_are_the_clusters():
    runs = [("a", True)] * 4 + [("b", True), ("b", False), ("b", True), ("b", False)] + [("c", False)] * 4
    found = curves(runs)
    assert list(found) == [f"pass^{k}" for k in (1, 2, 3, 4)] + [f"pass@{k}" for k in (1, 2, 3, 4)]
    assert found["pass^1"].value == pytest.approx((1 + 0.5 + 0) / 3) == found["pass@1"].value
    assert found["pass^2"].value == pytest.approx((1 + 1 / 6 + 0) / 3)
    assert found["pass@2"].value == pytest.approx((1 + 5 / 6 + 0) / 3)
    by_hand = mean([1, 1 / 6, 0], ["a", "b", "c"])
    assert (found["pass^2"].clusters, found["pass^2"].n) == (3, 3)
    assert found["pass^2"].high == pytest.approx(min(1.0, by_hand.high))


def test_fewest_runs_limit_k():
    assert list(curves([("a", True), ("a", True), ("b", True)])) == ["pass^1", "pass@1"]


@pytest.mark.parametrize(("held", "runs", "k"), [(3, 2, 1), (-1, 2, 1), (1, 2, 3), (1, 2, 0)])
def test_what_cannot_be_is_refused(held, runs, k):
    with pytest.raises(HalignError, match=r"pass\^k"):
        all_of(held, runs, k)
    with pytest.raises(HalignError, match=r"pass\^k"):
        curves([])
