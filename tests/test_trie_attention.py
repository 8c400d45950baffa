"""Attention over a flat row against a dense softmax over the ancestors, with all keys of a block and with those that are seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from halign.items import Path
from halign.trie import TreeBatch, tree_batch, visible
from halign.trie_attention import KEYS, QUERIES, Block, _TrieAttention, build_blocks


def bushes(seed: int = 0) -> list[list[Path]]:
    """A long beginning with many short branches, some of which branch again, and after it two small tries."""
    rng = np.random.default_rng(seed)

    def ids(n: int) -> list[int]:
        return [int(i) for i in rng.integers(3, 90, n)]

    trunk = ids(150)
    questions = [trunk + ids(int(rng.integers(5, 40))) for _ in range(14)]
    paths = [q + ids(int(rng.integers(1, 6))) for q in questions for _ in range(3)]
    rows = [paths, [ids(20), ids(9)], [ids(30)]]
    return [[Path(np.array(p[:1]), np.array(p[1:])) for p in row] for row in rows]


def blocks_of(
    batch: TreeBatch, picked: bool, window: int | None = None, rows: torch.Tensor | None = None
) -> tuple[Block, ...]:
    ends, positions = batch.subtree_end[0], batch.position_ids[0]
    return build_blocks(ends, positions, batch.segments, window=window, picked=picked, rows=rows)


@pytest.mark.parametrize("window", [None, 25])
@pytest.mark.parametrize("picked", [False, True])
def test_output_and_gradients_are_those_of_a_dense_softmax(picked: bool, window: int | None) -> None:
    batch = tree_batch(bushes(), flat=True)
    width = batch.input_ids.shape[1]
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, width, 8, requires_grad=True) for _ in range(3))
    mask = visible(batch.subtree_end, batch.position_ids, window=window)[0, 0]
    dense = torch.softmax((q @ k.transpose(1, 2)).masked_fill(~mask, float("-inf")), -1) @ v
    found = _TrieAttention.apply(q, k, v, blocks_of(batch, picked, window))
    assert torch.allclose(found, dense.transpose(0, 1), atol=1e-5)
    pull = torch.randn(found.shape)
    mine = torch.autograd.grad((found * pull).sum(), (q, k, v))
    expected = torch.autograd.grad((dense.transpose(0, 1) * pull).sum(), (q, k, v))
    for a, b in zip(mine, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("window", [None, 25])
@pytest.mark.parametrize("picked", [False, True])
def test_some_queries_get_what_they_get_among_all(picked: bool, window: int | None) -> None:
    batch = tree_batch(bushes(), flat=True)
    width, torch_rng = batch.input_ids.shape[1], torch.Generator().manual_seed(0)
    rows = torch.randperm(width, generator=torch_rng)[: width // 3].sort().values
    q, k, v = (torch.randn(2, width, 8, generator=torch_rng, requires_grad=True) for _ in range(3))
    mask = visible(batch.subtree_end, batch.position_ids, window=window)[0, 0]
    dense = torch.softmax((q @ k.transpose(1, 2)).masked_fill(~mask, float("-inf")), -1) @ v
    expected = dense.transpose(0, 1)[rows]
    blocks = blocks_of(batch, picked, window, rows)
    found = _TrieAttention.apply(q[:, rows].contiguous(), k, v, blocks)
    assert sum(b.mask.numel() for b in blocks) < 0.6 * sum(b.mask.numel() for b in blocks_of(batch, picked))
    assert torch.allclose(found, expected, atol=1e-5)
    pull = torch.randn(found.shape, generator=torch_rng)
    mine = torch.autograd.grad((found * pull).sum(), (q, k, v))
    wanted = torch.autograd.grad((expected * pull).sum(), (q, k, v))
    for a, b in zip(mine, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_picked_keys_are_few_and_lie_on_the_grid() -> None:
    batch = tree_batch(bushes(), flat=True)
    whole, picked = blocks_of(batch, False), blocks_of(batch, True)
    chosen = [b for b in picked if b.keys is not None]
    assert chosen
    assert all(b.keys is None for b in whole)
    for b in chosen:
        assert b.keys is not None
        keys = b.keys.tolist()
        assert keys == sorted(set(keys))
        assert len(keys) % KEYS == 0
        assert b.mask.shape == (b.last - b.first, len(keys))
        assert len(keys) <= 150 + 40 + QUERIES + KEYS  # the path to the block's first token, and the block
    assert picked[0].keys is None  # a chain: every key is seen


def test_batches_without_leaves_pick_their_keys() -> None:
    assert tree_batch(bushes(), flat=True, picked=True).picked
    assert not tree_batch(bushes(), flat=True).picked
    assert not tree_batch(bushes(), picked=True).picked
