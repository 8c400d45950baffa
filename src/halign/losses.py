"""A mixture of objectives over one forward pass: what they need of the global step, and each pack's share of the loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from halign import measures
from halign.binding import LIST_FIELDS, Scored, bind, concatenate, count, is_example, with_statistics
from halign.config import RunConfig
from halign.errors import HalignError
from halign.items import Item, Kind
from halign.objectives.items import Items, Singles
from halign.objectives.kto import balanced_weights
from halign.objectives.registry import Objective
from halign.rewards.card import Compared, comparisons

Statistics = Mapping[str, Mapping[str, Tensor]]
"""objective -> field -> scalar over the global step."""


class Losses:
    """The objectives of a run, weighted.

    Args:
        objectives: with their weights.
        settings: of each, by its name.
        counts: by an objective's name, what an item adds to that which the objective's mean is over; where it is not named, one,
            or of a token objective the item's supervised tokens.

    Attributes:
        memory: statistics of the last step, for objectives that remember them.
    """

    def __init__(
        self,
        objectives: Sequence[tuple[Objective, float]],
        settings: Mapping[str, Mapping[str, Any]],
        counts: Mapping[str, Callable[[Item], float]] | None = None,
    ) -> None:
        self.objectives = list(objectives)
        self.settings = {name: dict(values) for name, values in settings.items()}
        self.counts = dict(counts or {})
        self.memory: Statistics = {}

    @classmethod
    def of_run(cls, config: RunConfig, items: Sequence[Item], evaluation: Sequence[Item] = ()) -> Losses:
        """Those of a training run.

        Raises:
            HalignError: if the data does not give what they need.
        """
        found = cls(config.objectives, config.objective_settings)
        if config.train.balance:
            found._balance(items)
        everything = [*items, *evaluation]
        check_complete(everything)
        for objective, _ in found.objectives:
            check_needs(objective, found.settings[objective.name], everything)
        return found

    def _balance(self, items: Sequence[Item]) -> None:
        rated = [bool(i.values["desirable"]) for i in items if i.kind == "singles"]
        try:
            desirable, undesirable = balanced_weights(sum(rated), len(rated) - sum(rated))
        except ValueError as error:
            raise HalignError(str(error)) from None
        self.settings["kto"] |= {"desirable_weight": desirable, "undesirable_weight": undesirable}

    @property
    def need_reference(self) -> bool:
        """True if any objective compares with a reference."""
        return any(o.needs_reference for o, _ in self.objectives)

    @property
    def compare_distributions(self) -> bool:
        """True if any objective compares whole next-token distributions with the reference's."""
        return any(o.compares_distributions(self.settings[o.name]) for o, _ in self.objectives)

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
        return {o.name: sum(i.weight * self._count(o, i) for i in items) or 1.0 for o, _ in self.objectives}

    def _count(self, objective: Objective, item: Item) -> float:
        own = self.counts.get(objective.name)
        return own(item) if own else _counts(objective.kind, item)

    def statistics_parts(self, own: Sequence[Scored], mismatched: Sequence[Scored]) -> dict[str, list[Items]]:
        """What each objective's statistics are computed from, one part per pack."""
        parts: dict[str, list[Items]] = {}
        for objective, _ in self.objectives:
            if objective.mismatched:
                parts[objective.name] = [_as_mismatched(s) for s in mismatched]
            elif objective.statistics:
                parts[objective.name] = [bind(objective.kind, s) for s in own]
        return parts

    def statistics(
        self, parts: Sequence[Mapping[str, Sequence[Items]]], *, training: bool = True
    ) -> Statistics:
        """The statistics of the global step from the parts of all ranks. Only what training saw is remembered."""
        found: dict[str, Mapping[str, Tensor]] = {}
        for objective, _ in self.objectives:
            everything = [items for rank in parts for items in rank.get(objective.name, ()) if count(items)]
            if objective.statistics and everything:
                before = (self.memory.get(objective.name, {}),) if objective.remembers else ()
                found[objective.name] = objective.statistics(concatenate(everything), *before)
        if training:
            seen = {o.name: found[o.name] for o, _ in self.objectives if o.remembers and o.name in found}
            self.memory = {**self.memory, **seen}  # a step of a mixture may hold none of an objective's items
        return found

    def state_tensors(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold of the objectives."""
        return {
            f"objective/{name}/{field}": value
            for name, fields in self.memory.items()
            for field, value in fields.items()
        }

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``state_tensors`` gave, taking it out of ``tensors``."""
        found: dict[str, dict[str, Tensor]] = {}
        for key in [k for k in tensors if k.startswith("objective/")]:
            _, name, field = key.split("/")
            found.setdefault(name, {})[field] = tensors.pop(key)
        self.memory = found

    def share(
        self, scored: Scored, statistics: Statistics, norms: Mapping[str, float]
    ) -> tuple[Tensor, measures.Sums]:
        """This pack's share of the step's loss, and what to log of it. Shares add up over packs and ranks."""
        total: Tensor = scored.scores.zero
        sums: measures.Sums = {}
        for objective, weight in self.objectives:
            bound = bind(objective.kind, scored)
            if not count(bound):  # a pack of a mixture may hold none of them
                continue
            items = with_statistics(bound, statistics.get(objective.name, {}))
            losses = objective(items, **self.settings[objective.name])
            weights = items.weight if items.weight is not None else torch.ones_like(losses)
            share = (losses * weights).sum() / norms[objective.name]
            total = total + weight * share
            if len(self.objectives) > 1:
                sums[f"loss_{objective.name}"] = (float(share.detach()), 0.0)
            sums = measures.add(sums, measures.measure(items))
            if objective.monitor:
                watched = objective.monitor(items, **self.settings[objective.name])
                sums = measures.add(sums, measures.as_sums(watched))
        sums["loss"] = (float(total.detach()), 0.0)
        return total, sums

    def comparisons(self, scored: Scored) -> list[Compared]:
        """What a pack says of a reward model's accuracy; nothing of language models."""
        if scored.scores.values is None:
            return []
        return comparisons(bind(self.objectives[0][0].kind, scored))

    def describe(self) -> dict[str, Any]:
        """Names, weights and settings."""
        return {o.name: {"weight": w, **self.settings[o.name]} for o, w in self.objectives}


_WIN_RATES = (
    "give pairs chosen_win_rate and rejected_win_rate, each response's mean probability of beating the others"
)
REMEDIES = {
    "rewards": "give every response of a ranking a score, or use what takes ranks alone (dpo_pro, rrhf, pro temperature=none)",
    "chosen_win_rate": _WIN_RATES,
    "rejected_win_rate": _WIN_RATES,
    "attribute_logps": "give every response of a ranking attribute_logp = log P(attributes | prompt, response)",
    "prior_logps": "give every response of a ranking prior_logp = log P(response | prompt) without attributes",
    "behaviour_logps": "give every response of a ranking behaviour_logp, its log-probability under the model that sampled it",
}
"""Field that only the data can give -> what to do about data that lacks it."""


def check_needs(objective: Objective, settings: Mapping[str, Any], items: Sequence[Item]) -> None:
    """Whether the data gives what an objective cannot do without.

    Raises:
        HalignError: naming the field, the first item that lacks it, and the way out.
    """
    for field in (f for f in objective.needs(settings) if f in REMEDIES):
        lacking = [i for i in items if i.kind == objective.kind and field not in i.values]
        if lacking:
            raise HalignError(
                f"{objective.name} needs {field}, and {len(lacking)} of {len(items)} items have none "
                f"(the first is of conversation {lacking[0].conversation!r}): {REMEDIES[field]}"
            )
    for field, (low, high) in objective.ranges.items():
        for item in (i for i in items if i.kind == objective.kind):
            found = item.values.get(field, ())
            numbers = found if isinstance(found, tuple) else (float(found),)
            if not all(low <= n <= high for n in numbers):
                raise HalignError(
                    f"{objective.name} wants {field} in [{low:g}, {high:g}], and conversation {item.conversation!r} has "
                    f"{', '.join(f'{n:g}' for n in numbers)}"
                )


def check_complete(items: Sequence[Item]) -> None:
    """A value that some rankings have and others lack would be used in some packs and not in others.

    Raises:
        HalignError: naming the field.
    """
    lists = [i for i in items if i.kind == "lists"]
    for field in LIST_FIELDS:
        having = sum(field in i.values for i in lists)
        if 0 < having < len(lists):
            raise HalignError(
                f"{having} of {len(lists)} rankings have {field} and the others have none: give it to all or to none"
            )


def _counts(kind: Kind, item: Item) -> int:
    """What an item adds to the mean of an objective of this kind."""
    if kind == "rollouts":
        return len(item.paths[0].response) if item.kind == kind else 0
    return supervised_tokens(item) if kind == "tokens" else int(item.kind == kind)


def supervised_tokens(item: Item) -> int:
    """Tokens of the response that token objectives train on."""
    if not is_example(item):
        return 0
    path = item.paths[0]
    return len(path.response) if path.loss_mask is None else int(path.loss_mask.sum())


def _as_mismatched(scored: Scored) -> Singles:
    return Singles(
        logps=scored.scores.logps, mismatch_logps=scored.scores.logps, ref_mismatch_logps=scored.ref_logps
    )
