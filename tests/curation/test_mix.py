"""Counts by the largest remainder against enumeration, draws without replacement, nested sizes, and the order."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import pytest

from halign.curation.mix import mix
from halign.curation.sampling import apportion, interleaved, shares, times_drawn
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.lineage import trace
from halign.readers import read, write_rows
from tests.curation.plainly import rows_of, talk


@pytest.mark.parametrize(
    "wanted", [(0.5, 0.3, 0.2), (0.61, 0.24, 0.15), (1 / 3, 1 / 3, 1 / 3), (0.9, 0.06, 0.04), (1, 0, 0)]
)
def test_counts_are_the_nearest_to_the_quotas(wanted):
    """The largest remainder minimises sum (count - quota)^2 over all ways to divide; enumerated."""
    for size in range(13):
        ways = [w for w in itertools.product(range(size + 1), repeat=3) if sum(w) == size]
        best = min(sum((c - size * q) ** 2 for c, q in zip(w, wanted, strict=True)) for w in ways)
        found = apportion(size, wanted)
        assert sum(found) == size
        assert sum((c - size * q) ** 2 for c, q in zip(found, wanted, strict=True)) == pytest.approx(best)


def test_larger_sets_never_hold_fewer_of_a_source():
    """Shares for which the plain method does shrink a count (the Alabama paradox), and random ones."""
    paradox = [6 / 14, 6 / 14, 2 / 14]
    assert (apportion(10, paradox)[2], apportion(11, paradox)[2]) == (2, 1)
    rng = np.random.default_rng(0)
    for wanted in [paradox, *(rng.dirichlet(np.ones(4)).tolist() for _ in range(50))]:
        counts = None
        for size in range(1, 60):
            found = apportion(size, wanted, counts)
            assert sum(found) == size
            assert counts is None or all(a <= b for a, b in zip(counts, found, strict=True))
            assert all(abs(c - size * q) < 2 for c, q in zip(found, wanted, strict=True))
            counts = found


def test_temperature():
    """Sizes 100 and 1: at T = 2 as 10 to 1, at a large T alike."""
    assert shares([100, 1], 2) == pytest.approx([10 / 11, 1 / 11])
    assert shares([100, 1], 1e9) == pytest.approx([0.5, 0.5])
    assert shares([1, 0], 5) == [1.0, 0.0]
    for bad in ([0, 0], [1, -1], [1, float("nan")]):
        with pytest.raises(HalignError, match="one above 0"):
            shares(bad)
    with pytest.raises(HalignError, match="temperature: 0"):
        shares([1], 0)


def test_draws_use_up_all_before_any_comes_again():
    order = np.random.default_rng(0).permutation(7)
    for count in range(30):
        drawn = times_drawn(order, count)
        assert drawn.sum() == count
        assert drawn.max() - drawn.min() <= 1
        assert (times_drawn(order, count + 1) >= drawn).all()


def test_every_stretch_holds_its_share():
    which = interleaved([600, 300, 100])
    assert Counter(which.tolist()) == {0: 600, 1: 300, 2: 100}
    for end in range(1, 1001, 37):
        held = np.bincount(which[:end], minlength=3)
        assert (abs(held - np.array([0.6, 0.3, 0.1]) * end) <= 1.5).all()


@pytest.fixture
def files(tmp_path):
    for name, count in (("a", 70), ("b", 40), ("c", 9)):
        write_rows([talk(f"{name} asks {i}", f"{name}{i}") for i in range(count)], tmp_path / f"{name}.jsonl")
    return [RowSource(tmp_path / f"{n}.jsonl") for n in "abc"]


def ids(path):
    return [r["id"] for r in rows_of(path)]


def test_a_mix_by_weights(files, tmp_path):
    (made,) = mix(files, tmp_path / "m.jsonl", weights=[0.5, 0.4, 0.1], sizes=[50], seed=3)
    assert made.counts == (25, 20, 5)
    assert made.available == (70, 40, 9)
    found = ids(tmp_path / "m.jsonl")
    assert len(set(found)) == 50
    assert Counter(i[0] for i in found) == {"a": 25, "b": 20, "c": 5}
    first = (tmp_path / "m.jsonl").read_bytes()
    mix(files, tmp_path / "m.jsonl", weights=[0.5, 0.4, 0.1], sizes=[50], seed=3)
    assert (tmp_path / "m.jsonl").read_bytes() == first
    mix(files, tmp_path / "n.jsonl", weights=[0.5, 0.4, 0.1], sizes=[50], seed=4)
    assert set(ids(tmp_path / "n.jsonl")) != set(found)
    origin = trace(tmp_path / "m.jsonl", 2)[-1]
    assert (origin.file, origin.row["id"], origin.state) == (
        str(tmp_path / f"{found[1][0]}.jsonl"),
        found[1],
        "as it was",
    )
    assert len(read(tmp_path / "m.jsonl")) == 50


def test_sizes_are_nested(files, tmp_path):
    made = mix(files, tmp_path / "m.jsonl", weights=[6, 6, 2], sizes=[60, 10, 11], seed=0)
    assert [m.output.name for m in made] == ["m-10.jsonl", "m-11.jsonl", "m-60.jsonl"]
    small, middle, large = (set(ids(m.output)) for m in made)
    assert small < middle < large
    assert (len(small), len(middle), len(large)) == (10, 11, 60)


def test_by_sizes_of_sources_and_by_counts(files, tmp_path):
    (made,) = mix(files, tmp_path / "m.jsonl", sizes=[50], temperature=2.0)
    roots = np.sqrt([70, 40, 9])
    assert made.counts == tuple(apportion(50, (roots / roots.sum()).tolist()))
    (made,) = mix(files, tmp_path / "m.jsonl", counts=[1, 0, 9])
    assert Counter(i[0] for i in ids(tmp_path / "m.jsonl")) == {"a": 1, "c": 9}


def test_too_few_rows(files, tmp_path):
    with pytest.raises(HalignError, match=r"c.jsonl has 9 rows, and 20 are asked of it: .*--repeat"):
        mix(files, tmp_path / "m.jsonl", counts=[1, 1, 20])
    mix(files, tmp_path / "m.jsonl", counts=[1, 1, 20], repeat=True)
    times = Counter(i for i in ids(tmp_path / "m.jsonl") if i[0] == "c")
    assert sorted(times.values()) == [2] * 7 + [3] * 2
    with pytest.raises(HalignError, match="say how many rows"):
        mix(files, tmp_path / "n.jsonl", sizes=[])
    assert not (tmp_path / "n.jsonl").exists()


def test_one_format_and_shared_names(files, tmp_path):
    other = tmp_path / "d.jsonl"
    other.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c"}) + "\n")
    with pytest.raises(HalignError, match="Convert them first"):
        mix([files[0], RowSource(other)], tmp_path / "m.jsonl", counts=[1, 1])
    write_rows([talk("again", "a1"), talk("new", "x")], other)
    (made,) = mix([files[0], RowSource(other)], tmp_path / "m.jsonl", counts=[1, 1])
    assert made.shared == 1
