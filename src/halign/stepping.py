"""The optimiser step, of which there is one: forward, losses, backward, clip, update.

A step is a global batch of items, cut into packs. For every pack: forward, losses, backward; the sum of all losses is divided by
what the *global* step holds (items, or supervised tokens), so that one pack of eight, eight of one, and two ranks of four give
the same gradient. Training on data (``halign.training``) and loops that sample (``halign.loops.online``) both take it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from halign import measures, optimizers
from halign.adapters.adalora import Allocation
from halign.binding import Scored
from halign.errors import HalignError
from halign.lanes import GradientSum, Lanes
from halign.losses import Losses, Statistics
from halign.plan import Pack, Plan, Step
from halign.processes import Processes
from halign.reference import CachedReference, LiveReference, Reference
from halign.scoring import ValueScorer, score
from halign.trie import TreeBatch, tree_batch

Row = dict[str, Any]
Disturb = Callable[[TreeBatch, Step, int], TreeBatch]
"""(a pack's batch, the step, the pack's number) -> the batch as training sees it."""


class Diverged(HalignError):
    """A loss or a gradient was not finite: the run cannot go on."""


class Stepper:
    """Takes optimiser steps over the items of plans.

    Args:
        scorer: the model, as ``halign.equip`` made it ready.
        built: optimisers over its parameters.
        clip: largest norm of the gradient; None: no clipping.
        pad_id: fills rows of unequal length.
        lanes: packs that go through the scorer at once; one, unless nothing in it is drawn at random and it leaves no notes.

    Attributes:
        reference: by ``id`` of a plan, what gives its items' reference log-probabilities.
        layers: AdaLoRA's ranks, where there are any.
        disturb: what is done to a batch in training only.
    """

    def __init__(
        self,
        scorer: nn.Module,
        built: optimizers.Optimizers,
        losses: Losses,
        accelerator: Accelerator,
        *,
        clip: float | None,
        pad_id: int,
        lanes: Lanes | None = None,
    ) -> None:
        prepared = accelerator.prepare(scorer, *built)
        self.scorer: nn.Module = prepared[0]
        self.optimizers: optimizers.Optimizers = list(prepared[1:])
        self.trainable = [p for p in self.scorer.parameters() if p.requires_grad]
        self.rates = optimizers.base_rates(self.optimizers)
        self.losses, self.accelerator, self.clip, self.pad_id = losses, accelerator, clip, pad_id
        self.lanes = lanes or Lanes()
        self.leaves = isinstance(scorer, ValueScorer)  # nobody else reads a path's last token
        self.processes = Processes(accelerator)
        self.reference: dict[int, Reference] = {}
        self.layers: Allocation | None = None
        self.disturb: Disturb = lambda batch, step, number: batch

    def set_rate(self, factor: float) -> float:
        """Set every learning rate to its base times ``factor``; the first one's."""
        optimizers.set_learning_rate(self.optimizers, self.rates, factor)
        return self.rates[0][0] * factor

    def gradients(self, plan: Plan, step: Step) -> Row:
        """Gradients of the step's loss, clipped; its means, and ``gradient_norm`` before clipping."""
        packs = step.packs[self.processes.rank]
        batches = [self.disturb(self.batch(plan, pack), step, n) for n, pack in enumerate(packs)]
        statistics, only = self.statistics(plan, step, batches)
        norms = self.losses.normalisers([plan.items[i] for i in step.items])
        penalty = self.layers.penalty() if self.layers else None
        sums: measures.Sums = {"tokens": (float(sum(b.distinct_tokens for b in batches)), 0.0)}

        scored = self._scoring(plan, packs, batches) if only is None else lambda number: only

        def share(number: int) -> tuple[Tensor, measures.Sums]:
            loss, parts = self.losses.share(scored(number), statistics, norms)
            if number + 1 == len(packs) and penalty is not None:
                loss = loss + penalty / self.processes.ranks
            # ranks' gradients are averaged, but the normalisers already count every rank's items
            return loss * self.processes.ranks, parts

        for parts in self._backward(share, len(packs)):
            sums = measures.add(sums, parts)
        if not packs:
            self._join_with_nothing(plan, step, penalty)
        norm = float(self.accelerator.clip_grad_norm_(self.trainable, self.clip or math.inf))
        row = {**measures.means(self.processes.reduced(sums)), "gradient_norm": norm}
        return row if penalty is None else {**row, "orthogonality": float(penalty.detach())}

    def _backward(
        self, share: Callable[[int], tuple[Tensor, measures.Sums]], packs: int
    ) -> Iterator[measures.Sums]:
        """Gradients of every pack's share of the loss, and what it logs."""
        if self.lanes.count > 1 and packs > 1:
            total = GradientSum(self.trainable)

            def one(number: int) -> measures.Sums:
                loss, parts = share(number)
                total.add(number, torch.autograd.grad(loss, self.trainable, allow_unused=True))
                return parts

            yield from self.lanes.map(one, range(packs))
            return
        for number in range(packs):
            last = number + 1 == packs
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.scorer):
                loss, parts = share(number)
                self.accelerator.backward(loss)
            yield parts

    def update(self, done: int) -> None:
        """Change the weights by the gradients; ``done`` steps have been taken then."""
        for optimizer in self.optimizers:
            optimizer.step()
        if self.layers:
            self.layers.step(done)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def batch(self, plan: Plan, pack: Pack) -> TreeBatch:
        """The pack's tensors, on the device."""
        made = tree_batch(plan.paths(pack), pad_id=self.pad_id, flat=plan.flat, leaves=self.leaves)
        return made.to(self.accelerator.device)

    def scored(self, plan: Plan, packs: Sequence[Pack], batches: Sequence[TreeBatch]) -> Iterator[Scored]:
        """Every pack with what policy and reference make of it, in their order."""
        of = self._scoring(plan, packs, batches)
        return self.lanes.map(of, range(len(packs)))

    def _scoring(
        self, plan: Plan, packs: Sequence[Pack], batches: Sequence[TreeBatch]
    ) -> Callable[[int], Scored]:
        """What scores the pack of a number. A live reference switches the model for everybody, so it has its say about all packs
        before the policy has its own; but for whole distributions, which are too large to keep."""
        reference = self.reference.get(id(plan))
        whole = [b if b.hidden is None else replace(b, hidden=None) for b in batches]
        known: list[Tensor] | None = None
        if isinstance(reference, LiveReference) and self.losses.need_reference:
            known = reference.all(whole, self.lanes.map)

        def of(number: int) -> Scored:
            pack, against = packs[number], None
            if self.losses.compare_distributions and isinstance(reference, LiveReference):
                with self.accelerator.autocast():
                    against = reference.distributions(whole[number])
            ref_logps = known[number] if known else None
            if isinstance(reference, CachedReference) and self.losses.need_reference:
                ref_logps = reference(plan, pack, whole[number])
            return Scored(plan.items, pack, score(self.scorer, batches[number], against), ref_logps)

        return of

    def statistics(
        self, plan: Plan, step: Step, batches: Sequence[TreeBatch], training: bool = True
    ) -> tuple[Statistics, Scored | None]:
        """Statistics of the global step, and the scores of its only pack where there is just one (no need to score it twice)."""
        extra = step.extra[self.processes.rank]
        with torch.no_grad():
            mismatched = list(self.scored(plan, extra, [self.batch(plan, pack) for pack in extra]))
        own: list[Scored] = []
        only: Scored | None = None
        if self.losses.want_own_statistics:
            packs = step.packs[self.processes.rank]
            if training and sum(len(share) for share in step.packs) == 1 and packs:
                only = self._scoring(plan, packs, batches)(0)
                own = [only]
            else:
                with torch.no_grad():
                    own = list(self.scored(plan, packs, batches))
        parts = self.losses.statistics_parts(own, mismatched)
        gathered = self.processes.gathered([parts]) if parts else []
        return self.losses.statistics(gathered, training=training), only

    def _join_with_nothing(self, plan: Plan, step: Step, penalty: Tensor | None) -> None:
        """A rank without packs still joins the others' reduction of gradients."""
        pack = next(pack for share in step.packs for pack in share)
        scores = score(self.scorer, self.batch(plan, pack))
        nothing = scores.zero
        self.accelerator.backward(nothing if penalty is None else nothing + penalty)


def stop_unless_finite(row: Row, conversations: Sequence[str]) -> None:
    """Break off where a loss or a gradient is no number any more.

    Raises:
        Diverged: naming the step and some of its conversations.
    """
    if math.isfinite(row["loss"]) and math.isfinite(row["gradient_norm"]):
        return
    raise Diverged(
        f"step {row['step']}: the loss is {row['loss']}, the norm of its gradient {row['gradient_norm']}. "
        f"Lower learning_rate (now {row['learning_rate']:.2g}), or look at conversations "
        f"{', '.join(sorted(set(conversations))[:5])}"
    )
