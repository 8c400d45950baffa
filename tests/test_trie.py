"""The trie against what it stands for: the paths themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halign.items import Path
from halign.prefixes import count_distinct
from halign.trie import build_trie, tree_batch, visible

ids = st.lists(st.integers(0, 3), min_size=0, max_size=7)


def as_paths(pairs: list[tuple[list[int], list[int]]]) -> list[Path]:
    return [Path(np.array(p, dtype=np.int32), np.array(r, dtype=np.int32)) for p, r in pairs]


@given(st.lists(ids, min_size=0, max_size=8))
def test_every_path_is_read_back_and_every_prefix_stands_once(paths: list[list[int]]) -> None:
    trie = build_trie([np.array(p, dtype=np.int32) for p in paths])
    assert [trie.tokens[n].tolist() for n in trie.nodes] == paths
    assert [trie.positions[n].tolist() for n in trie.nodes] == [list(range(len(p))) for p in paths]
    prefixes = {tuple(p[:i]) for p in paths for i in range(1, len(p) + 1)}
    assert len(trie) == len(prefixes) == count_distinct([np.array(p, dtype=np.int32) for p in paths])


@given(st.lists(ids, min_size=1, max_size=8))
def test_a_token_sees_its_ancestors_and_nothing_else(paths: list[list[int]]) -> None:
    trie = build_trie([np.array(p, dtype=np.int32) for p in paths])
    ancestors = [set() for _ in range(len(trie))]
    for nodes in trie.nodes:
        for depth, node in enumerate(nodes):
            ancestors[node] = set(nodes[: depth + 1].tolist())
            assert trie.parents[node] == (nodes[depth - 1] if depth else -1)
    seen = visible(torch.tensor(trie.ends)[None].long(), torch.tensor(trie.positions)[None].long())[0, 0]
    assert [set(torch.nonzero(row)[:, 0].tolist()) for row in seen] == ancestors


@given(st.lists(ids.filter(bool), min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 4))
def test_windows_and_chunks_count_on_the_path_not_in_the_row(
    paths: list[list[int]], window: int, chunk: int
) -> None:
    trie = build_trie([np.array(p, dtype=np.int32) for p in paths])
    ends, positions = torch.tensor(trie.ends)[None].long(), torch.tensor(trie.positions)[None].long()
    windowed, chunked = (
        visible(ends, positions, window=window)[0, 0],
        visible(ends, positions, chunk=chunk)[0, 0],
    )
    for nodes in trie.nodes:
        for depth, node in enumerate(nodes):
            want = set(nodes[max(0, depth - window + 1) : depth + 1].tolist())
            assert set(torch.nonzero(windowed[node])[:, 0].tolist()) == want
            want = set(nodes[depth // chunk * chunk : depth + 1].tolist())
            assert set(torch.nonzero(chunked[node])[:, 0].tolist()) == want


def test_the_worked_example() -> None:
    a, b, c, d, e, f = range(10, 16)
    trie = build_trie([np.array(p) for p in ([a, b, c, d], [a, b, c, e, f], [a, b])])
    assert trie.tokens.tolist() == [a, b, c, d, e, f]
    assert trie.positions.tolist() == [0, 1, 2, 3, 3, 4]
    assert trie.ends.tolist() == [6, 6, 6, 4, 6, 6]
    assert trie.parents.tolist() == [-1, 0, 1, 2, 2, 4]
    assert not trie.is_chain
    assert build_trie([np.array([1, 2, 3]), np.array([1, 2])]).is_chain
    assert not build_trie([np.array([1]), np.array([2])]).is_chain


@settings(max_examples=60)
@given(
    st.lists(st.tuples(ids.filter(bool), ids), min_size=1, max_size=6),
    st.booleans(),
    st.integers(1, 3),
)
def test_a_batch_reads_each_response_token_at_its_parent(
    pairs: list[tuple[list[int], list[int]]], flat: bool, rows: int
) -> None:
    paths = as_paths(pairs)
    split = [paths[i::rows] for i in range(rows) if paths[i::rows]]
    batch = tree_batch(split, flat=flat)
    order = [p for row in split for p in row]
    tokens, positions = batch.input_ids.reshape(-1), batch.position_ids.reshape(-1)
    start = 0
    for number, path in enumerate(order):
        n = len(path.response)
        own = batch.gather[start : start + n]
        assert batch.owner[start : start + n].tolist() == [number] * n
        assert batch.targets[own].tolist() == path.response.tolist()
        parents = batch.read_at[batch.target_read[own]]
        before = path.ids[len(path.prompt) - 1 : -1] if n else []
        assert tokens[parents].tolist() == list(before)
        assert positions[parents].tolist() == list(range(len(path.prompt) - 1, len(path.prompt) - 1 + n))
        start += n
    assert len(batch.gather) == start
    assert batch.lengths.tolist() == [len(p.response) for p in order]
    assert (batch.target_read.diff() >= 0).all()
    assert len(set(batch.read_at.tolist())) == len(batch.read_at)
    assert batch.flat_tokens == sum(len(p) for p in order)
    assert batch.distinct_tokens == sum(count_distinct([p.ids for p in row]) for row in split)


def test_a_loss_mask_leaves_tokens_out() -> None:
    path = Path(np.array([1, 2]), np.array([3, 4, 5]), loss_mask=np.array([True, False, True]))
    batch = tree_batch([[path]])
    assert batch.targets[batch.gather].tolist() == [3, 5]
    assert batch.lengths.tolist() == [2]
    assert batch.read_at[batch.target_read[batch.gather]].tolist() == [1, 3]


def test_padding_is_seen_by_nobody_and_sees_itself() -> None:
    batch = tree_batch([as_paths([([1, 2], [3]), ([1], [4])]), as_paths([([1], [2])])])
    seen = visible(batch.subtree_end, batch.position_ids)[1, 0]
    assert seen[2:, :2].any() == False  # noqa: E712
    assert seen.diagonal().all()


def test_an_empty_prompt_is_an_error() -> None:
    with pytest.raises(ValueError, match="prompt token"):
        tree_batch([as_paths([([], [1, 2])])])


@pytest.mark.parametrize("flat", [False, True])
def test_without_leaves_the_last_tokens_are_predicted_and_not_read(flat: bool) -> None:
    rows = [
        as_paths([([1, 2], [3]), ([1, 2], [4]), ([1, 2], [3, 5]), ([1, 2], [3])]),
        as_paths([([7], [8, 9])]),
    ]
    batch = tree_batch(rows, flat=flat, leaves=False)
    assert batch.distinct_tokens == 3 + 2  # 1 2 3 and 7 8
    tokens = batch.input_ids.reshape(-1)
    assert not {4, 5, 9} & set(tokens.tolist())
    assert batch.lengths.tolist() == [1, 1, 2, 1, 2]
    assert batch.targets[batch.gather].tolist() == [3, 4, 3, 5, 3, 8, 9]
    parents = batch.read_at[batch.target_read[batch.gather]]
    assert tokens[parents].tolist() == [2, 2, 2, 3, 2, 7, 8]
    assert len(batch.targets) == 5  # 3 and 4 after 2, 5 after 3, 8 after 7, 9 after 8: each once
