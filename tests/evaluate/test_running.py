"""Means that are kept up: at every step those of all values at once."""

from __future__ import annotations

import math
import random

import pytest

from halign.evaluate import mean, rate, share
from halign.evaluate.intervals import mean_of, moments, rate_of, share_of
from halign.evaluate.running import Running


def close(one, other):
    assert (one.n, one.clusters) == (other.n, other.clusters)
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_after_every_value_the_intervals_are_those_of_all_values_so_far(seed):
    rng, running = random.Random(seed), [Running() for _ in range(3)]
    values, clusters = [[], [], []], []
    for _ in range(120):
        clusters.append(rng.randrange(30))
        new = float(rng.random() < 0.7), rng.choice((0, 0.25, 0.5, 0.75, 1)), rng.gauss(1000, 0.1)
        for r, kept, x in zip(running, values, new, strict=True):
            r.add(x, clusters[-1])
            kept.append(x)
        if len(set(clusters)) > 1:
            close(share_of(running[0].moments), share(values[0], clusters))
            close(rate_of(running[1].moments), rate(values[1], clusters))
            close(mean_of(running[2].moments), mean(values[2], clusters))


@pytest.mark.parametrize("pattern", [(0.1,), (0.0, 0.0, 1.0), (1.0, 0.7, 0.1)])
def test_clusters_that_are_all_alike_have_no_spread_and_the_intervals_know_it(pattern):
    running, values, clusters = Running(), [], []
    for cluster in range(7):
        for x in pattern:
            running.add(x, cluster)
            values.append(x)
            clusters.append(cluster)
    assert running.moments.variance == 0.0
    assert rate_of(running.moments).low == pytest.approx(rate(values, clusters).low, rel=1e-9)


def test_one_different_value_among_many_is_not_taken_for_rounding():
    running = Running()
    values = [0.0] * 99_999 + [1.0]
    clusters = [i // 10 for i in range(100_000)]
    for x, c in zip(values, clusters, strict=True):
        running.add(x, c)
    assert running.moments.variance == pytest.approx(moments(values, clusters).variance, rel=1e-9)


def test_one_cluster_has_no_variance_and_no_value_no_moments():
    running = Running()
    with pytest.raises(ValueError, match="no values"):
        _ = running.moments
    running.add(0.25, "a")
    running.add(0.75, "a")
    assert running.moments[:3] == (2, 1, 0.5)
    assert math.isnan(running.moments.variance)
    with pytest.raises(ValueError, match="at least two conversations"):
        mean_of(running.moments)
    close(share_of(running.moments), share([0.25, 0.75], ["a", "a"]))
