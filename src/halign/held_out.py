"""What the losses and measures are on held-out items."""

from __future__ import annotations

from typing import Any

import torch

from halign import measures
from halign.plan import Plan
from halign.progress import Display
from halign.rewards.card import Compared, figures, report_card
from halign.stepping import Row, Stepper


@torch.no_grad()
def held_out(stepper: Stepper, plan: Plan, display: Display) -> tuple[Row, dict[str, Any] | None]:
    """Means over all items of a plan's only step, and of a reward model the report card of its comparisons."""
    losses, processes = stepper.losses, stepper.processes
    stepper.scorer.eval()
    step = plan.step(0)
    packs = step.packs[processes.rank]
    batches = [stepper.batch(plan, pack) for pack in packs]
    statistics, _ = stepper.statistics(plan, step, batches, training=False)
    norms = losses.normalisers(plan.items)
    display.phase("evaluating", len(packs))
    sums: measures.Sums = {"loss": (0.0, 0.0)}
    compared: list[Compared] = []
    for number, scored in enumerate(stepper.scored(plan, packs, batches)):
        sums = measures.add(sums, losses.share(scored, statistics, norms)[1])
        compared += losses.comparisons(scored)
        display.advance(number + 1, len(packs))
    stepper.scorer.train()
    row: Row = {**measures.means(processes.reduced(sums)), "items": len(plan.items)}
    everything = [c for part in processes.gathered([compared]) for c in part]
    card = report_card(everything) if everything else None
    return (row if card is None else row | figures(card)), card
