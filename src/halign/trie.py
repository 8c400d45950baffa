"""Token paths -> a trie of distinct tokens -> the tensors that a model reads.

Ten turns of a conversation, each with a chosen and a rejected reply, are twenty token sequences that repeat one trunk.
Merged into a trie and laid out in depth-first order, every distinct token stands once in the row:

    paths   A B C D         depth-first row   A B C D E F
            A B C E F       position          0 1 2 3 3 4
            A B             subtree_end       6 6 6 4 6 6
                            parent           -1 0 1 2 2 4

Token q sees token k exactly when ``k <= q < subtree_end[k]``: k is q itself or one of its ancestors.
The log-probability of a token is read at its *parent* in the trie, never at the token before it in the row.
Sharing is found on the ids, so it is exact whatever the data; two equal paths cost no more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halign.items import Ids, Path
from halign.prefixes import common_prefix, in_order

ROOT = -1
"""Parent of a path's first token."""
FLAT_MULTIPLE = 64
"""Tokens of a flat row are rounded up to a multiple of this. Libraries compile a kernel for every new shape of a product, which
takes as long as the product and memory of its own: packs of any length made a third of a step's time (docs/log.md)."""


@dataclass(frozen=True)
class TokenTrie:
    """The distinct tokens of some paths in depth-first order.

    Attributes:
        tokens, positions, ends, parents: int32 [T]; token id, depth on its path, one past its last descendant, parent.
        nodes: per path, in the order given, the row indices of its tokens, int32 [len(path)].
    """

    tokens: np.ndarray
    positions: np.ndarray
    ends: np.ndarray
    parents: np.ndarray
    nodes: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """True if nothing branches, so that plain causal attention is the trie's own."""
        return bool(len(self) == 0 or (self.positions[-1] == len(self) - 1))


def build_trie(paths: Sequence[Ids]) -> TokenTrie:
    """Merge token paths. Sorted lexicographically, the order of first appearance is the depth-first order.

    Args:
        paths: int arrays [n_i]; empty ones are allowed and own no node.

    >>> t = build_trie([np.array([1, 2, 3]), np.array([1, 2, 4, 5]), np.array([1])])
    >>> t.tokens.tolist(), t.positions.tolist(), t.ends.tolist(), t.parents.tolist()
    ([1, 2, 3, 4, 5], [0, 1, 2, 2, 3], [5, 5, 3, 5, 5], [-1, 0, 1, 1, 3])
    """
    return _forest([paths])[0]


def _forest(rows: Sequence[Sequence[Ids]]) -> tuple[TokenTrie, list[int]]:
    """The tries of several rows of paths end to end, as if they were one (nothing is shared between rows), and their sizes."""
    everything = [[np.asarray(path, dtype=np.int32) for path in row] for row in rows]
    upper = sum(len(path) for row in everything for path in row)
    numbers, ends = np.arange(upper, dtype=np.int32), np.empty(upper, dtype=np.int32)
    nodes: list[np.ndarray] = []
    sizes: list[int] = []
    new: list[np.ndarray] = [_NONE]  # per path that has any: the tokens that no path before it has,
    first: list[int] = [0]  # the node of the first of them, its depth and its parent
    depth: list[int] = [0]
    above: list[int] = [ROOT]
    count = 0
    for row in everything:
        begun, known = count, len(nodes)
        nodes += row  # one each, replaced below
        previous = previous_nodes = _NONE
        for index in in_order(row):
            path = row[index]
            shared = common_prefix(previous, path)
            if shared < len(previous):
                ends[previous_nodes[shared:]] = count  # the branch that the previous path left is closed
            own = numbers[count : count + len(path) - shared]
            if len(own):
                new.append(path[shared:])
                first.append(count)
                depth.append(shared)
                above.append(previous_nodes[shared - 1] if shared else ROOT)
            previous, previous_nodes = path, np.concatenate([previous_nodes[:shared], own]) if shared else own
            nodes[known + index] = previous_nodes
            count += len(own)
        ends[previous_nodes] = count
        sizes.append(count - begun)
    numbers = numbers[:count]
    positions = numbers + np.repeat(
        np.subtract(depth, first, dtype=np.int32), [len(tokens) for tokens in new]
    )
    parents = numbers - 1
    parents[first[1:]] = above[1:]
    return TokenTrie(np.concatenate(new), positions, ends[:count], parents, tuple(nodes)), sizes


_NONE = np.empty(0, dtype=np.int32)


@dataclass(frozen=True)
class TreeBatch:
    """B tries, one per row, padded to T tokens, and where the R responses' tokens are in them.

    Attributes:
        input_ids, position_ids, subtree_end: int64 [B, T]. A padding token is its own subtree, so it is never seen.
        causal: True if no row branches; the model then needs no mask of ours.
        read_at: int64 [M]; flat positions (row * T + column) whose hidden state goes through the LM head, each once.
        targets: int64 [N]; token ids whose log-probability is wanted, each supervised trie node once.
        target_read: int64 [N], non-decreasing; index into ``read_at`` of each target's parent.
        gather: int64 [G]; index into ``targets`` of every response token, response after response.
        owner: int64 [G]; response of each of these tokens, non-decreasing.
        lengths: int64 [R]; response tokens that count.
        last_at: int64 [R]; flat position of each path's last token, where a value head reads; equal paths share it. Of a batch
            without leaves, of the token before.
        distinct_tokens, flat_tokens: trie nodes, and what separate paths would encode.
        segments: (start, length) of each trie where all of them stand end to end in one row (B = 1); else empty.
        picked: of a flat batch: attention picks out the keys that can be seen, which pays where a long beginning has many
            branches. Rounding differs.
        hidden: bool [B, T, T], True where a query (dim 1) is kept from seeing a key (dim 2) of its past; None: nothing is hidden.
    """

    input_ids: Tensor
    position_ids: Tensor
    subtree_end: Tensor
    causal: bool
    read_at: Tensor
    targets: Tensor
    target_read: Tensor
    gather: Tensor
    owner: Tensor
    lengths: Tensor
    last_at: Tensor
    distinct_tokens: int
    flat_tokens: int
    segments: tuple[tuple[int, int], ...] = ()
    hidden: Tensor | None = None
    picked: bool = False

    def to(self, device: torch.device | str) -> TreeBatch:
        """The same batch on another device."""
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        moved: dict[str, Any] = {k: v.to(device) for k, v in named if isinstance(v, Tensor)}
        return replace(self, **moved)

    @property
    def responses(self) -> int:
        """R, the number of responses."""
        return len(self.lengths)


def tree_batch(
    rows: Sequence[Sequence[Path]],
    *,
    pad_id: int = 0,
    multiple: int = 8,
    flat: bool = False,
    leaves: bool = True,
    picked: bool = False,
) -> TreeBatch:
    """Lay out tries. Responses are numbered trie after trie, path after path.

    Args:
        rows: for each trie its paths, any paths; sharing is found on the ids.
        pad_id: id that fills short rows; it is never attended to nor supervised.
        multiple: T is rounded up to a multiple of this (kernels like it); for a flat batch to ``FLAT_MULTIPLE``.
        flat: all tries end to end in one row, instead of one row each.
        leaves: lay out the paths' last tokens too. What is only predicted need not be read: without them a path may be one token
            longer than the model has positions, and single-token choices cost nothing. Only a value head reads there.
        picked: of a flat batch: attention picks out the keys that can be seen (``TreeBatch.picked``).

    Raises:
        ValueError: if a path has no prompt (its first response token would have no parent to be predicted from).
    """
    forest, sizes = _forest([[p.ids if leaves else p.ids[:-1] for p in row] for row in rows])
    ends = np.cumsum(sizes, dtype=np.int64)
    offsets = ends - sizes  # of each trie in the forest
    if flat:
        width = max(1, -(-sum(sizes) // FLAT_MULTIPLE)) * FLAT_MULTIPLE
        starts, shape = offsets, (1, width)
    else:
        width = max(multiple, -(-max(sizes, default=1) // multiple) * multiple)
        starts, shape = np.arange(len(rows)) * width, (len(rows), width)
    causal = not flat and all(
        forest.positions[end - 1] == size - 1 for end, size in zip(ends, sizes, strict=True) if size
    )
    columns = np.broadcast_to(np.arange(width), shape)
    input_ids = np.full(shape, pad_id, dtype=np.int64)
    position_ids = columns.copy() if causal else np.zeros(shape, dtype=np.int64)
    subtree_end = columns + 1
    shifts = starts - offsets  # from a trie's place in the forest to its place here
    place = np.arange(len(forest)) + np.repeat(shifts, sizes)
    input_ids.reshape(-1)[place] = forest.tokens
    position_ids.reshape(-1)[place] = forest.positions
    subtree_end.reshape(-1)[place] = forest.ends + np.repeat(starts % width - offsets, sizes)
    paths = [path for row in rows for path in row]
    path_shifts = np.repeat(shifts, [len(row) for row in rows])
    parent, token, owner, lengths = _supervised(paths, forest.nodes, path_shifts)
    read_at, targets, target_read, gather = _distinct(parent, token, len(rows) * width)
    last = [nodes[-1] for nodes in forest.nodes]
    return TreeBatch(
        input_ids=torch.from_numpy(input_ids),
        position_ids=torch.from_numpy(position_ids),
        subtree_end=torch.from_numpy(subtree_end),
        causal=causal,
        read_at=torch.from_numpy(read_at),
        targets=torch.from_numpy(targets),
        target_read=torch.from_numpy(target_read),
        gather=torch.from_numpy(gather),
        owner=torch.from_numpy(owner),
        lengths=torch.from_numpy(lengths),
        last_at=torch.from_numpy(np.asarray(last, dtype=np.int64) + path_shifts),
        distinct_tokens=sum(sizes),
        flat_tokens=sum(map(len, paths)),
        segments=tuple(zip(starts.tolist(), sizes, strict=True)) if flat else (),
        picked=flat and picked,
    )


def _supervised(
    paths: Sequence[Path], nodes: Sequence[np.ndarray], shifts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of every response token that counts: its parent's flat position, its id, its response; and the responses' lengths. int64.

    Args:
        nodes: of every path, its tokens in the forest.
        shifts: int64 [paths]; what to add to them for flat positions.
    """
    parent: list[np.ndarray] = [_NONE]
    token: list[np.ndarray] = [_NONE]
    for path, own in zip(paths, nodes, strict=True):
        first, said = len(path.prompt) - 1, path.response
        if first < 0:
            raise ValueError(
                "a path needs at least one prompt token: its first response token has no predecessor"
            )
        before = own[first : first + len(said)]
        if path.loss_mask is not None:
            counts = np.asarray(path.loss_mask, dtype=bool)
            before, said = before[counts], said[counts]
        parent.append(before)
        token.append(said)
    lengths = np.asarray([len(said) for said in token[1:]], dtype=np.int64)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return np.concatenate(parent) + shifts[owner], np.concatenate(token, dtype=np.int64), owner, lengths


def _distinct(
    parent: np.ndarray, token: np.ndarray, positions: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distinct supervised tokens in the order of their parents, which are below ``positions``: the parents, each once;
    the tokens' ids; the parent of each; the index of each response token among them. All int64."""
    edges, gather = np.unique(parent << 32 | token, return_inverse=True)
    parents = edges >> 32
    read = np.zeros(positions, dtype=np.int64)
    read[parents] = 1
    return np.flatnonzero(read), edges & 0xFFFFFFFF, (np.cumsum(read) - 1)[parents], gather


def visible(
    subtree_end: Tensor, position_ids: Tensor, *, window: int | None = None, chunk: int | None = None
) -> Tensor:
    """Which token sees which: the trie's ancestor test, intersected with a window or chunk test on path positions.

    Args:
        subtree_end, position_ids: int64 [B, T].
        window: a token sees itself and the ``window - 1`` tokens before it on its path (sliding-window attention).
        chunk: a token sees its own block of ``chunk`` path positions (chunked attention).

    Returns:
        bool [B, 1, T, T], True where query (dim 2) sees key (dim 3).
    """
    row = torch.arange(subtree_end.shape[1], device=subtree_end.device)
    query, key = row[:, None], row[None, :]
    mask = (key <= query) & (query < subtree_end[:, None, :])
    if window is not None:
        mask &= position_ids[:, :, None] - position_ids[:, None, :] < window
    if chunk is not None:
        mask &= position_ids[:, :, None] // chunk == position_ids[:, None, :] // chunk
    return mask[:, None]
