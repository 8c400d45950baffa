"""Reference log-probabilities: the model that training started from, adapters and embeddings included.

Three sources, one answer: computed once before training and kept in a cache (no second model in memory), the same model with
its adapters switched off, or with a frozen copy of everything that is trained in its place. Adapters switched off are exact when
they are fresh: what they change in the weights starts at zero, and modules trained in full beside them keep their originals.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from halign.cache import cache_dir
from halign.head_kl import Distributions
from halign.items import Item
from halign.models import fingerprint
from halign.plan import MISMATCH, Pack, Plan, Slot
from halign.scoring import Scorer, Scores
from halign.trie import TreeBatch

Score = Callable[[nn.Module, TreeBatch], Scores]
Batch = Callable[[Plan, Pack], TreeBatch]
Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""``map``, or what does the same faster."""


class CachedReference:
    """Token log-probabilities of every path, computed once.

    The cache file is keyed by the model's weights, the items' token ids and the precision.
    """

    def __init__(self, token_logps: dict[Slot, np.ndarray]) -> None:
        self._logps = token_logps

    def __call__(self, plan: Plan, pack: Pack, batch: TreeBatch) -> Tensor:
        """Token log-probabilities in the order of ``Scores.token_logps``, float32 [G]."""
        joined = np.concatenate([self._logps[slot] for slot in pack.slots])
        return torch.from_numpy(joined).to(batch.input_ids.device)

    @classmethod
    def compute(
        cls,
        model: nn.Module,
        plan: Plan,
        *,
        score: Score,
        batch: Batch,
        precision: str,
        progress: Callable[[int, int], None] = lambda done, total: None,
        each: Each = map,
        rank: int = 0,
        ranks: int = 1,
        gather: Callable[[list[dict[Slot, np.ndarray]]], list[dict[Slot, np.ndarray]]] = lambda x: x,
    ) -> CachedReference:
        """Score every path of a plan without gradient, or take the numbers from the cache."""
        file = cache_dir("reference") / f"{_key(model, plan, precision)}.safetensors"
        if file.exists():
            return cls(_read(file, plan))
        used = plan.used_items()
        packs = plan.pack(used)
        if plan.mismatched:
            packs += plan.pack(used, mismatched=True)
        found: dict[Slot, np.ndarray] = {}
        mine = packs[rank::ranks]
        scored = each(lambda pack: _by_slot(pack, score(model, batch(plan, pack))), mine)
        for done, part in enumerate(scored, 1):
            found |= part
            progress(min(done * ranks, len(packs)), len(packs))
        for part in gather([found]):
            found |= part
        if rank == 0:
            _write(file, plan, found)
        return cls(found)


Switch = Callable[[], contextlib.AbstractContextManager[None]]


class LiveReference:
    """Scores each pack with the model in training, switched back to its start for as long as that takes."""

    def __init__(self, model: nn.Module, score: Score, switched_back: Switch) -> None:
        self.model = model
        self.score = score
        self.switched_back = switched_back

    @classmethod
    def without_adapters(cls, model: nn.Module, score: Score) -> LiveReference:
        """The model with its adapters off."""
        return cls(model, score, lambda: _adapters_off(model))

    @classmethod
    def frozen(cls, model: nn.Module, score: Score, part: nn.Module | None = None) -> LiveReference:
        """The model with the trainable parameters as they are now; they are copied, everything else is shared.

        Args:
            part: the part of the model whose parameters count; None: all of it.
        """
        kept = [(p, p.detach().clone()) for p in (part or model).parameters() if p.requires_grad]
        return cls(model, score, lambda: _exchanged(kept))

    def __call__(self, plan: Plan, pack: Pack, batch: TreeBatch) -> Tensor:
        """Token log-probabilities in the order of ``Scores.token_logps``, float32 [G]."""
        return self.all([batch])[0]

    @torch.no_grad()
    def all(self, batches: Sequence[TreeBatch], each: Each = map) -> list[Tensor]:
        """The same of several batches; ``each`` (``Lanes.map``) may do them at once, since all find the model switched."""
        with self._as_reference():
            return list(each(lambda batch: self.score(self.model, batch).token_logps, batches))

    def distributions(self, batch: TreeBatch) -> Distributions:
        """Whole next-token distributions, for ``Scorer.forward(against=)``."""
        with self._as_reference():
            return _scorer(self.model).distributions(batch)

    @contextlib.contextmanager
    def _as_reference(self) -> Iterator[None]:
        training = self.model.training
        self.model.eval()  # no dropout on adapters' input
        try:
            with self.switched_back():
                yield
        finally:
            self.model.train(training)


Reference = CachedReference | LiveReference


def _scorer(module: nn.Module) -> Scorer:
    """The scorer inside what accelerate wrapped."""
    while not isinstance(module, Scorer):
        module = module.module  # type: ignore[assignment]
    return module


@contextlib.contextmanager
def _adapters_off(module: nn.Module) -> Iterator[None]:
    with _scorer(module).model.disable_adapter():  # type: ignore[operator]
        yield


@contextlib.contextmanager
def _exchanged(kept: Sequence[tuple[nn.Parameter, Tensor]]) -> Iterator[None]:
    """Parameters hold the tensors kept, and afterwards their own again. Neither is copied."""
    now = [p.data for p, _ in kept]
    for p, before in kept:
        p.data = before
    try:
        yield
    finally:
        for (p, _), own in zip(kept, now, strict=True):
            p.data = own


def _by_slot(pack: Pack, scores: Scores) -> dict[Slot, np.ndarray]:
    parts = torch.split(scores.token_logps.float().cpu(), scores.lengths.tolist())
    return {slot: part.numpy() for slot, part in zip(pack.slots, parts, strict=True)}


def items_fingerprint(items: Sequence[Item]) -> str:
    """Hash of every path's token ids and loss mask, in order."""
    digest = hashlib.sha256()
    for item in items:
        for path in item.paths:
            digest.update(np.asarray([len(path.prompt), len(path.response)], dtype=np.int64).tobytes())
            digest.update(np.ascontiguousarray(path.ids, dtype=np.int32).tobytes())
            if path.loss_mask is not None:
                digest.update(np.packbits(path.loss_mask).tobytes())
    return digest.hexdigest()


def _key(model: nn.Module, plan: Plan, precision: str) -> str:
    # separate passes differ in rounding only, but a key should not say less
    facts = f"{fingerprint(model)}|{items_fingerprint(plan.items)}|{precision}|{plan.separate}"
    if plan.mismatched:
        drawn = [
            Item("singles", (plan.path(Slot(i, MISMATCH)),), "")
            for i in plan.with_mismatch(range(len(plan.items)))
        ]
        facts += f"|mismatched {items_fingerprint(drawn)}"
    used = plan.used_items()
    if len(used) < len(plan.items):
        facts += f"|items {used}"
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _slots(plan: Plan) -> list[Slot]:
    used = plan.used_items()
    slots = [Slot(i, k) for i in used for k in range(len(plan.items[i].paths))]
    return slots + [Slot(i, MISMATCH) for i in plan.with_mismatch(used)]


def _write(file: Path, plan: Plan, found: dict[Slot, np.ndarray]) -> None:
    arrays = [found[slot] for slot in _slots(plan)]
    lengths = np.asarray([len(a) for a in arrays], dtype=np.int64)
    partial = file.with_suffix(f".{os.getpid()}.partial")  # another run may be writing the same numbers
    save_file({"logps": np.concatenate(arrays), "lengths": lengths}, partial)
    partial.replace(file)


def _read(file: Path, plan: Plan) -> dict[Slot, np.ndarray]:
    stored = load_file(file)
    parts = np.split(stored["logps"], np.cumsum(stored["lengths"])[:-1])
    return dict(zip(_slots(plan), parts, strict=True))
