"""Shingles, similarity, bands and the index, against plain sets and against what probability says."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from halign.curation.minhash import NEAR, Bands, NearIndex, jaccard, runs, shingles
from tests.curation.plainly import changed, plain


def test_similarity_by_hand():
    """ "a b c d" has the shingles abc, bcd; "a b c e" has abc, bce: one of three in common."""
    assert jaccard(shingles("a b c d"), shingles("A, b. C e!")) == pytest.approx(1 / 3)
    assert len(shingles("")) == 0
    assert len(shingles("hi")) == 1
    assert jaccard(shingles("hi"), shingles("Hi!")) == 1.0
    assert jaccard(shingles(""), shingles("")) == 0.0


def test_hashed_sets_are_the_plain_ones():
    rng = random.Random(0)
    texts = [" ".join(rng.choice("abcde") for _ in range(rng.randint(0, 30))) for _ in range(80)]
    for a, b in itertools.combinations(texts, 2):
        x, y = plain(a), plain(b)
        expected = len(x & y) / len(x | y) if x | y else 0.0
        assert jaccard(shingles(a), shingles(b)) == pytest.approx(expected)


def test_runs_are_in_order_and_tell_order_apart():
    words = ["a", "b", "c", "a", "b", "c"]
    found = runs(words, 3)
    assert len(found) == 4
    assert found[0] == found[3] != found[1]
    assert len(runs(words, 7)) == 0
    assert len({*runs(["a", "b"], 2).tolist(), *runs(["b", "a"], 2).tolist(), *runs(["a"], 1).tolist()}) == 3


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.95])
def test_bands_find_nearly_all_at_the_threshold(threshold):
    bands = Bands.of(threshold)
    assert bands.found(threshold) >= 0.999
    assert bands.count * bands.rows <= 128
    assert bands.found(threshold / 3) < 0.6 or threshold < 0.5


def test_keys_agree_as_often_as_probability_says():
    """Two sets of similarity s share a band with 1 - (1 - s^r)^b; 600 pairs, four standard errors."""
    rng, bands = np.random.default_rng(0), Bands(5, 4)
    s, n = 0.6, 600
    sets = []
    for _ in range(n):
        pool = rng.integers(0, 1 << 32, 100, dtype=np.uint32)
        sets += [np.unique(pool[:80]), np.unique(pool[20:])]  # 60 of 100 in common
    keys = bands.keys(sets)
    hits = (keys[0::2] == keys[1::2]).any(axis=1).mean()
    expected = bands.found(s)
    assert expected == pytest.approx(1 - (1 - 0.6**4) ** 5)
    assert abs(hits - expected) < 4 * np.sqrt(expected * (1 - expected) / n)


def test_index_finds_the_most_similar_of_another_conversation():
    rng = random.Random(1)
    text = " ".join(f"w{i}" for i in range(200))
    index = NearIndex()
    for i, share in enumerate((0.03, 0.01, 0.5)):
        index.add(changed(text, share, rng), i, f"c{i}")
    index.add(text, 3, "mine")
    assert index.find(text, "mine") == 1
    assert index.nearest(text, "other") == (3, 1.0)
    assert index.find("something else altogether, of other words", "mine") is None
    assert index.find("", "mine") is None


def test_index_misses_hardly_anything_and_takes_nothing_else():
    rng = random.Random(2)
    texts = [" ".join(f"w{rng.randint(0, 500)}" for _ in range(60)) for _ in range(150)]
    texts += [changed(t, rng.choice((0.01, 0.03, 0.06, 0.1)), rng) for t in texts]
    sets = [plain(t) for t in texts]
    index, missed, alike = NearIndex(), 0, 0
    for i, t in enumerate(texts):
        there = [len(sets[i] & sets[j]) / len(sets[i] | sets[j]) for j in range(i)]
        expected = max(there, default=0.0)
        found = index.nearest(t, "b")
        if found is not None:
            assert found[1] >= NEAR
            assert there[found[0]] == pytest.approx(found[1])
        if expected >= NEAR:
            alike += 1
            missed += found is None
        index.add(t, i, "a")
    assert alike > 50
    assert missed <= 1
