"""Items -> the exact sequence of optimiser steps and packs.

A plan is a pure function of the items, the seed and the sizes. Nothing about it is stored in a checkpoint: a resumed run asks
for step 17 again and gets the same packs. Every rank computes the whole plan, so each knows what the others hold and the
normalisers of the global step without asking.

Items of one conversation stay together, because they share a trunk; conversations are shuffled.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from halign.errors import HalignError
from halign.items import Item, Path
from halign.prefixes import count_distinct

T = TypeVar("T")

MISMATCH = -1
"""Path number of an item's mismatched completion: its prompt followed by another conversation's response."""

SPLIT_COST = 1.3
"""A trie over the budget stays whole if its parts would hold this many times its tokens ..."""
OVERSIZE = 4
"""... and it is no larger than this many budgets."""

SMALL_PACK = 256
"""Tokens below which a pack is not made smaller only so that every rank has one: its products would get inefficient."""

Shuffle = Literal["conversations", "items", "none"]


@dataclass(frozen=True)
class Slot:
    """One path of one item: ``path`` indexes ``Item.paths``, or is MISMATCH."""

    item: int
    path: int


Row = tuple[int, tuple[Slot, ...]]
"""Distinct tokens of a trie, and its slots."""


@dataclass(frozen=True)
class Pack:
    """What goes through the model at once: rows of slots, one trie per row. All paths of an item are in one pack."""

    rows: tuple[tuple[Slot, ...], ...]

    @property
    def slots(self) -> list[Slot]:
        """Slots in the order in which their responses are numbered."""
        return [slot for row in self.rows for slot in row]

    @cached_property
    def items(self) -> list[int]:
        """Items in order of first appearance."""
        return list(dict.fromkeys(slot.item for slot in self.slots))


@dataclass(frozen=True)
class Step:
    """One optimiser step: the global batch and how it is spread over ranks.

    Attributes:
        index: number of the step in the run, from 0.
        items: indices of the items in the global batch.
        packs: per rank, its packs.
        extra: per rank, packs of mismatched completions (empty unless asked for).
    """

    index: int
    items: tuple[int, ...]
    packs: tuple[tuple[Pack, ...], ...]
    extra: tuple[tuple[Pack, ...], ...]


class Plan:
    """The sequence of steps over some items.

    Args:
        items: what to train on.
        batch_items: items in a global step.
        max_tokens: distinct tokens in a pack, padding included. One item may exceed it alone.
        epochs: passes over the data.
        max_steps: stop after this many steps, or None.
        seed: for the shuffle and the mismatched completions.
        shuffle: ``conversations`` keeps what shares a trunk together, ``items`` gives that up for independent batches.
        separate: one row per path, nothing shared (the plain path).
        flat: a pack's tries will stand end to end, so their sizes add up and no padding counts.
        mismatch: draw a mismatched completion per item (KTO).
        spare: items whose completions serve as mismatched ones where ``items`` are of a single conversation.
        ranks: number of processes.
        lanes: packs that a process takes through the model at once (``halign.lanes``).
    """

    def __init__(
        self,
        items: Sequence[Item],
        *,
        batch_items: int,
        max_tokens: int,
        epochs: float = 1,
        max_steps: int | None = None,
        seed: int = 0,
        shuffle: Shuffle = "conversations",
        separate: bool = False,
        flat: bool = False,
        mismatch: bool = False,
        spare: Sequence[Item] = (),
        ranks: int = 1,
        lanes: int = 1,
    ) -> None:
        self.items = items
        self.batch_items = min(batch_items, max(1, len(items)))
        self.max_tokens = max_tokens
        self.seed = seed
        self.shuffle = shuffle
        self.separate, self.flat = separate, flat
        self.ranks, self.lanes = ranks, lanes
        self.steps_per_epoch = max(1, -(-len(items) // self.batch_items)) if items else 0
        wanted = max(1, round(epochs * self.steps_per_epoch)) if items else 0
        self.steps = min(wanted, max_steps) if max_steps is not None else wanted
        self._order_of: tuple[int, list[int]] = (-1, [])
        self._mismatched = self._draw_mismatched(spare) if mismatch else {}
        self.mismatched = bool(self._mismatched)

    def path(self, slot: Slot) -> Path:
        """The token path behind a slot."""
        return (
            self._mismatched[slot.item] if slot.path == MISMATCH else self.items[slot.item].paths[slot.path]
        )

    def paths(self, pack: Pack) -> list[list[Path]]:
        """The paths of a pack, row by row, as ``halign.trie.tree_batch`` takes them."""
        return [[self.path(slot) for slot in row] for row in pack.rows]

    def step(self, index: int) -> Step:
        """The step with this number (0 <= index < steps)."""
        chosen = self._chosen(index)
        return Step(
            index,
            chosen,
            self._spread(self.pack(chosen)),
            self._spread(self.pack(chosen, mismatched=True)) if self._mismatched else ((),) * self.ranks,
        )

    def used_items(self) -> list[int]:
        """Items that some step of the run takes, in order (fewer than all where ``max_steps`` cuts the first epoch short)."""
        if self.steps >= self.steps_per_epoch:
            return list(range(len(self.items)))
        return sorted({i for index in range(self.steps) for i in self._chosen(index)})

    def with_mismatch(self, chosen: Iterable[int]) -> list[int]:
        """Those of the items that have a mismatched completion: singles, if any were asked for."""
        return [i for i in chosen if i in self._mismatched]

    def _chosen(self, index: int) -> tuple[int, ...]:
        epoch, within = divmod(index, self.steps_per_epoch)
        return tuple(self._epoch_order(epoch)[within * self.batch_items : (within + 1) * self.batch_items])

    def pack(self, chosen: Sequence[int], *, mismatched: bool = False) -> list[Pack]:
        """Packs for these items: tries of what belongs together, rows of similar length side by side.

        With ``mismatched``, of the singles' mismatched completions."""
        if mismatched:
            chosen = self.with_mismatch(chosen)
        if self.separate:
            return self._fill_separate(chosen, mismatched)
        rows: list[Row] = []
        for group in self._groups(chosen):
            rows += self._rows([self._unit(i, mismatched) for i in group])
        return (
            _fill_flat(rows, self.max_tokens, self.ranks * self.lanes)
            if self.flat
            else _fill_padded(rows, self.max_tokens)
        )

    def _unit(self, item: int, mismatched: bool) -> tuple[Slot, ...]:
        if mismatched:
            return (Slot(item, MISMATCH),)
        return tuple(Slot(item, k) for k in range(len(self.items[item].paths)))

    def _groups(self, chosen: Sequence[int]) -> list[list[int]]:
        groups: dict[str, list[int]] = {}
        for i in chosen:
            groups.setdefault(self.items[i].conversation, []).append(i)
        return list(groups.values())

    def _rows(self, units: list[tuple[Slot, ...]]) -> list[Row]:
        """One trie for the units if it fits; else its halves, unless a long trunk makes them cost much more than the whole."""
        slots = tuple(slot for unit in units for slot in unit)
        width = count_distinct([self.path(slot).ids for slot in slots])
        if width <= self.max_tokens or len(units) == 1:
            return [(width, slots)]
        half = len(units) // 2
        halves = self._rows(units[:half]) + self._rows(units[half:])
        if width <= OVERSIZE * self.max_tokens and sum(w for w, _ in halves) > SPLIT_COST * width:
            return [(width, slots)]
        return halves

    def _fill_separate(self, chosen: Sequence[int], mismatched: bool) -> list[Pack]:
        """Packs of single-path rows, sorted by the longest path of an item, padded; items stay whole."""
        units = sorted(
            (self._unit(i, mismatched) for i in chosen), key=lambda u: max(len(self.path(s)) for s in u)
        )
        packs: list[Pack] = []
        rows: list[tuple[Slot, ...]] = []
        for unit in units:
            width = max(len(self.path(s)) for s in unit)
            if rows and (len(rows) + len(unit)) * width > self.max_tokens:
                packs.append(Pack(tuple(rows)))
                rows = []
            rows += [(slot,) for slot in unit]
        return [*packs, Pack(tuple(rows))] if rows else packs

    def _spread(self, packs: list[Pack]) -> tuple[tuple[Pack, ...], ...]:
        """Packs over ranks, the heaviest first, always to the rank with least to do."""
        if self.ranks == 1:
            return (tuple(packs),)
        weighed = sorted(((self._weight(p), p) for p in packs), key=lambda w: -w[0])
        return tuple(tuple(pack for _, pack in share) for share in _level(weighed, self.ranks))

    def _weight(self, pack: Pack) -> int:
        return sum(len(self.path(slot)) for slot in pack.slots)

    def _epoch_order(self, epoch: int) -> list[int]:
        if self._order_of[0] != epoch:
            self._order_of = (epoch, self._shuffled(epoch))
        return self._order_of[1]

    def _shuffled(self, epoch: int) -> list[int]:
        everything = range(len(self.items))
        if self.shuffle == "none":
            return list(everything)
        rng = np.random.default_rng((self.seed, epoch))
        if self.shuffle == "items":
            return rng.permutation(len(self.items)).tolist()
        groups = self._groups(everything)
        return [i for g in rng.permutation(len(groups)) for i in groups[g]]

    def _draw_mismatched(self, spare: Sequence[Item]) -> dict[int, Path]:
        """For every single its prompt with a response from another conversation, drawn once for the run.

        Raises:
            HalignError: if there is only one conversation to draw from.
        """
        rng = np.random.default_rng((self.seed, 0x6B746F))
        singles = [i for i, item in enumerate(self.items) if item.kind == "singles"]
        groups = self._groups(singles)
        pool = [self.items[i] for group in groups for i in group]
        own: dict[str, tuple[int, int]] = {}
        for item, end in zip(pool, range(1, len(pool) + 1), strict=True):
            own[item.conversation] = (own.get(item.conversation, (end - 1, 0))[0], end)
        if len(groups) == 1:
            pool, own = [i for i in spare if i.kind == "singles" and i.conversation not in own], {}
        drawn = {}
        for number in singles:
            item = self.items[number]
            first, last = own.get(item.conversation, (0, 0))
            count = len(pool) - (last - first)
            if count == 0:
                raise HalignError(
                    f"all {len(singles)} items are of one conversation ({item.conversation}): KTO compares with completions "
                    "of other conversations, so it needs at least two"
                )
            at = int(rng.integers(count))
            other = pool[
                at if at < first else at + last - first
            ]  # everything but its own conversation, which is contiguous
            said = other.paths[int(rng.integers(len(other.paths)))]
            drawn[number] = Path(item.paths[0].prompt, said.response, said.loss_mask)
        return drawn


def _fill_padded(rows: list[Row], max_tokens: int) -> list[Pack]:
    """Rows of similar width side by side; a pack holds rows times width."""
    packs: list[Pack] = []
    current: list[tuple[Slot, ...]] = []
    for width, row in sorted(rows, key=lambda r: r[0]):
        if current and (len(current) + 1) * width > max_tokens:
            packs.append(Pack(tuple(current)))
            current = []
        current.append(row)
    return [*packs, Pack(tuple(current))] if current else packs


def _fill_flat(rows: list[Row], max_tokens: int, abreast: int) -> list[Pack]:
    """Rows end to end: as few packs as will do, in a multiple of what is computed at once (on ranks, in lanes) unless they would
    get small, of nearly equal size, the largest first."""
    widest_first = sorted(rows, key=lambda r: -r[0])
    total = sum(width for width, _ in rows)
    needed = max(1, -(-total // max_tokens))
    count = max(needed, min(-(-needed // abreast) * abreast, total // SMALL_PACK))
    while True:
        bins = _evened([held for held in _level(widest_first, count) if held])
        if all(len(held) == 1 or _load(held) <= max_tokens for held in bins):
            return [Pack(tuple(row for _, row in held)) for held in sorted(bins, key=_load, reverse=True)]
        count = max(count + abreast, count * 21 // 20)


def _level(heaviest_first: Iterable[tuple[int, T]], count: int) -> list[list[tuple[int, T]]]:
    """(weight, thing) pairs over ``count`` bins, each into the bin that is lightest so far."""
    heap = [(0, number) for number in range(count)]
    bins: list[list[tuple[int, T]]] = [[] for _ in range(count)]
    for weighed in heaviest_first:
        load, number = heap[0]
        heapq.heapreplace(heap, (load + weighed[0], number))
        bins[number].append(weighed)
    return bins


def _evened(bins: list[list[tuple[int, T]]]) -> list[list[tuple[int, T]]]:
    """Loads closer to each other: as long as it helps, the heaviest bin gives a thing to the lightest, or takes one for it."""
    for _ in range(len(bins)):
        heavy, light = max(bins, key=_load), min(bins, key=_load)
        gap, choices = _load(heavy) - _load(light), [(0, None), *((w, i) for i, (w, _) in enumerate(light))]
        moves = [
            (abs(gap - 2 * (own - other)), given, taken)
            for given, (own, _) in enumerate(heavy)
            for other, taken in choices
            if 0 < own - other < gap
        ]
        if not moves:
            break
        _, given, taken = min(moves, key=lambda m: m[0])
        moved = heavy.pop(given)
        if taken is not None:
            heavy.append(light.pop(taken))
        light.append(moved)
    return bins


def _load(held: list[tuple[int, T]]) -> int:
    return sum(weight for weight, _ in held)
