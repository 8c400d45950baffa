"""A mixture of objectives over one forward pass: what they need of the global step, and each pack's share of the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from halign import measures
from halign.binding import Scored, bind, concatenate, is_example, with_statistics
from halign.config import RunConfig
from halign.errors import HalignError
from halign.items import Item
from halign.objectives.items import Items, Singles
from halign.objectives.kto import balanced_weights

Statistics = Mapping[str, Mapping[str, Tensor]]
"""objective -> field -> scalar over the global step."""


class Losses:
    """The objectives of a run, weighted."""

    def __init__(self, config: RunConfig, items: Sequence[Item]) -> None:
        self.objectives = config.objectives
        self.settings = {name: dict(values) for name, values in config.objective_settings.items()}
        if config.train.balance:
            self._balance(items)

    def _balance(self, items: Sequence[Item]) -> None:
        good = sum(bool(i.values.get("desirable")) for i in items)
        try:
            desirable, undesirable = balanced_weights(good, len(items) - good)
        except ValueError as error:
            raise HalignError(str(error)) from None
        self.settings["kto"] |= {"desirable_weight": desirable, "undesirable_weight": undesirable}

    @property
    def need_reference(self) -> bool:
        """True if any objective compares with a reference."""
        return any(o.needs_reference for o, _ in self.objectives)

    @property
    def mismatched(self) -> bool:
        """True if any objective wants mismatched completions."""
        return any(o.mismatched for o, _ in self.objectives)

    @property
    def want_own_statistics(self) -> bool:
        """True if any objective's statistics are of the items themselves, so that the whole step is scored before any loss."""
        return any(o.statistics and not o.mismatched for o, _ in self.objectives)

    def normalisers(self, items: Sequence[Item]) -> dict[str, float]:
        """Per objective, what its mean is over: weighted items, or weighted supervised tokens, of the global step."""
        return {
            o.name: sum(i.weight * (supervised_tokens(i) if o.kind == "tokens" else 1) for i in items) or 1.0
            for o, _ in self.objectives
        }

    def statistics_parts(self, own: Sequence[Scored], mismatched: Sequence[Scored]) -> dict[str, list[Items]]:
        """What each objective's statistics are computed from, one part per pack."""
        parts: dict[str, list[Items]] = {}
        for objective, _ in self.objectives:
            if objective.mismatched:
                parts[objective.name] = [_as_mismatched(s) for s in mismatched]
            elif objective.statistics:
                parts[objective.name] = [bind(objective.kind, s) for s in own]
        return parts

    def statistics(self, parts: Sequence[Mapping[str, Sequence[Items]]]) -> Statistics:
        """The statistics of the global step from the parts of all ranks."""
        found: dict[str, Mapping[str, Tensor]] = {}
        for objective, _ in self.objectives:
            everything = [items for rank in parts for items in rank.get(objective.name, ())]
            if objective.statistics and everything:
                found[objective.name] = objective.statistics(concatenate(everything))
        return found

    def share(
        self, scored: Scored, statistics: Statistics, norms: Mapping[str, float]
    ) -> tuple[Tensor, measures.Sums]:
        """This pack's share of the step's loss, and what to log of it. Shares add up over packs and ranks."""
        total: Tensor = scored.scores.logps.sum() * 0.0
        sums: measures.Sums = {}
        for objective, weight in self.objectives:
            items = with_statistics(bind(objective.kind, scored), statistics.get(objective.name, {}))
            losses = objective(items, **self.settings[objective.name])
            weights = items.weight if items.weight is not None else torch.ones_like(losses)
            share = (losses * weights).sum() / norms[objective.name]
            total = total + weight * share
            if len(self.objectives) > 1:
                sums[f"loss_{objective.name}"] = (float(share.detach()), 0.0)
            sums = measures.add(sums, measures.measure(items))
        sums["loss"] = (float(total.detach()), 0.0)
        return total, sums

    def describe(self) -> dict[str, Any]:
        """Names, weights and settings."""
        return {o.name: {"weight": w, **self.settings[o.name]} for o, w in self.objectives}


def supervised_tokens(item: Item) -> int:
    """Tokens of the response that token objectives train on: the item's first, unless it was rated bad."""
    if not is_example(item):
        return 0
    path = item.paths[0]
    return len(path.response) if path.loss_mask is None else int(path.loss_mask.sum())


def _as_mismatched(scored: Scored) -> Singles:
    return Singles(
        logps=scored.scores.logps, mismatch_logps=scored.scores.logps, ref_mismatch_logps=scored.ref_logps
    )
