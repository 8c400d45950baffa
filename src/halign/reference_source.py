"""Which reference a training run takes, and setting it up. What a reference is stands in ``halign.reference``."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from halign.errors import HalignError
from halign.plan import Plan
from halign.progress import Display
from halign.reference import CachedReference, LiveReference
from halign.scoring import score
from halign.stepping import Stepper
from halign.train_settings import TrainSettings


def set_up_reference(
    stepper: Stepper,
    plans: Sequence[Plan],
    settings: TrainSettings,
    display: Display,
    *,
    fresh_adapters: bool,
) -> str:
    """Give the stepper what its losses compare with: ``cached``, ``frozen`` or ``adapter``; "" where they compare with nothing.

    Before a checkpoint is loaded, so that the reference is what training started from, also in a resumed run.

    Raises:
        HalignError: if the source that was asked for cannot give what the losses read.
    """
    losses = stepper.losses
    if not (losses.need_reference or losses.compare_distributions):
        return ""
    source = settings.reference
    if source == "auto":
        # without adapters that were trained before, the model is not the one that training starts from; without virtual
        # tokens that are new, it is the one that was given
        source = "frozen" if losses.compare_distributions else "cached"
        if fresh_adapters:
            source = "adapter"
    if source == "cached":
        if losses.compare_distributions:
            raise HalignError(
                "reference=cached keeps the log-probabilities of the data's tokens, and this objective compares whole "
                "distributions: say reference=frozen, or leave it out"
            )
        stepper.reference |= {id(plan): _computed(stepper, plan, settings, display) for plan in plans}
        return source
    made = LiveReference.without_adapters if source == "adapter" else LiveReference.frozen
    live = made(stepper.scorer, score)
    stepper.reference |= {id(plan): live for plan in plans}
    return source


def _computed(stepper: Stepper, plan: Plan, settings: TrainSettings, display: Display) -> CachedReference:
    display.phase("reference", len(plan.items))
    stepper.scorer.eval()
    with torch.no_grad():
        computed = CachedReference.compute(
            stepper.scorer,
            plan,
            score=score,
            batch=stepper.batch,
            precision=settings.dtype,
            progress=display.advance,
            each=stepper.lanes.map,
            rank=stepper.processes.rank,
            ranks=stepper.processes.ranks,
            gather=stepper.processes.gathered,
        )
    stepper.scorer.train()
    return computed
