"""Means that are kept up while values come, in work that does not grow with how many have come."""

from __future__ import annotations

import math
from collections.abc import Hashable

from halign.evaluate.intervals import ROUNDING, Moments


class Running:
    """Values in clusters, one by one.

    Of a cluster with n_g values that sum to s_g, what the mean m leaves is s_g - m n_g, and

        sum_g (s_g - m n_g)^2 = sum s_g^2 - 2 m sum s_g n_g + m^2 sum n_g^2,

    so the variance G/(G-1) sum_g (s_g - m n_g)^2 / n^2 of ``intervals.mean`` needs these three sums alone. Values are counted
    from the first one, so that equal values have a variance of exactly zero.

    >>> r = Running()
    >>> for value, cluster in ((1, "a"), (0, "a"), (1, "b"), (1, "b")):
    ...     r.add(value, cluster)
    >>> r.moments.mean, r.moments.groups, r.moments.variance
    (0.75, 2, 0.0625)
    """

    __slots__ = ("_clusters", "_counts", "_first", "_mixed", "_squares", "_total", "n")

    def __init__(self) -> None:
        self.n = 0
        self._first = self._total = self._squares = self._mixed = self._counts = 0.0
        self._clusters: dict[Hashable, list[float]] = {}

    def add(self, value: float, cluster: Hashable) -> None:
        """One more value."""
        if not self.n:
            self._first = value
        x = value - self._first
        of = self._clusters.get(cluster)
        if of is None:
            of = self._clusters[cluster] = [0.0, 0.0]
        count, total = of
        self._squares += x * (2 * total + x)
        self._mixed += total + x * (count + 1)
        self._counts += 2 * count + 1
        of[0], of[1] = count + 1, total + x
        self._total += x
        self.n += 1

    @property
    def moments(self) -> Moments:
        """Of all values so far.

        Raises:
            ValueError: no values.
        """
        if not self.n:
            raise ValueError("no values")
        groups, m = len(self._clusters), self._total / self.n
        mean = self._first + m
        if groups < 2:
            return Moments(self.n, groups, mean, math.nan)
        terms = self._squares, -2 * m * self._mixed, m * m * self._counts
        left = sum(terms)  # a difference of large sums, and so nothing where it is a tiny share of them
        if left <= ROUNDING * sum(map(abs, terms)):
            left = 0.0
        return Moments(self.n, groups, mean, groups / (groups - 1) * left / self.n**2)
