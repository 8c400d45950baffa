"""From a pack and its scores to what objectives take: Pairs, Lists, Singles, Tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from halign.items import Item, Kind
from halign.objectives.items import Items, Lists, Pairs, Singles, Tokens
from halign.plan import Pack
from halign.scoring import Scores


@dataclass(frozen=True)
class Scored:
    """A pack with its log-probabilities under the policy and, if there is one, the reference.

    Attributes:
        items: all items of the run; ``pack`` says which are here.
        reference: token log-probabilities in the order of ``scores.token_logps``, or None.
    """

    items: Sequence[Item]
    pack: Pack
    scores: Scores
    reference: Tensor | None

    @property
    def ref_logps(self) -> Tensor | None:
        """Sums over each response's tokens, float32 [R]."""
        if self.reference is None:
            return None
        zeros = torch.zeros(len(self.scores.lengths), dtype=torch.float32, device=self.reference.device)
        return zeros.index_add_(0, self.scores.owner, self.reference)


def bind(kind: Kind, scored: Scored) -> Items:
    """The pack as one kind of items. Pairs may also be bound as ``tokens``: the chosen responses' (an SFT term)."""
    makers: dict[Kind, Callable[[Scored], Items]] = {
        "pairs": _pairs,
        "lists": _lists,
        "singles": _singles,
        "tokens": _tokens,
    }
    return makers[kind](scored)


def _first_responses(scored: Scored) -> list[int]:
    """For each item of the pack, the number of its first response; the others follow it."""
    first: dict[int, int] = {}
    for response, slot in enumerate(scored.pack.slots):
        first.setdefault(slot.item, response)
    return list(first.values())


def _column(scored: Scored, name: str, default: float | None = None) -> Tensor | None:
    """A value of every item as float32, or None where no item has it (and no default is given)."""
    values = [scored.items[i].values.get(name, default) for i in scored.pack.items]
    if all(v is None for v in values) or (default is not None and all(v == default for v in values)):
        return None
    device = scored.scores.logps.device
    return torch.tensor([float("nan") if v is None else float(v) for v in values], device=device)  # type: ignore[arg-type]


def _common(scored: Scored) -> dict[str, Any]:
    device = scored.scores.logps.device
    weights = [scored.items[i].weight for i in scored.pack.items]
    return {
        "weight": torch.tensor(weights, dtype=torch.float32, device=device),
        "conversation": [scored.items[i].conversation for i in scored.pack.items],
    }


def _pairs(scored: Scored) -> Pairs:
    chosen = torch.tensor(_first_responses(scored), device=scored.scores.logps.device)
    rejected = chosen + 1
    logps, ref, lengths = scored.scores.logps, scored.ref_logps, scored.scores.lengths.float()
    return Pairs(
        chosen_logps=logps[chosen],
        rejected_logps=logps[rejected],
        ref_chosen_logps=None if ref is None else ref[chosen],
        ref_rejected_logps=None if ref is None else ref[rejected],
        chosen_lengths=lengths[chosen],
        rejected_lengths=lengths[rejected],
        preference=_column(scored, "preference", 1.0),
        chosen_win_rate=_column(scored, "chosen_win_rate"),
        rejected_win_rate=_column(scored, "rejected_win_rate"),
        **_common(scored),
    )


def _singles(scored: Scored) -> Singles:
    first = torch.tensor(_first_responses(scored), device=scored.scores.logps.device)
    ref = scored.ref_logps
    desirable = _column(scored, "desirable")
    return Singles(
        logps=scored.scores.logps[first],
        ref_logps=None if ref is None else ref[first],
        lengths=scored.scores.lengths.float()[first],
        desirable=None if desirable is None else desirable.bool(),
        **_common(scored),
    )


def _lists(scored: Scored) -> Lists:
    first = _first_responses(scored)
    counts = [len(scored.items[i].paths) for i in scored.pack.items]
    width = max(counts)
    device = scored.scores.logps.device
    index = torch.tensor(
        [[f + min(k, n - 1) for k in range(width)] for f, n in zip(first, counts, strict=True)]
    )
    mask = torch.tensor([[k < n for k in range(width)] for n in counts], device=device)
    index = index.to(device)
    ref = scored.ref_logps
    tables: dict[str, Any] = {name: _table(scored, name, width) for name in LIST_FIELDS}
    return Lists(
        logps=scored.scores.logps[index],
        ref_logps=None if ref is None else ref[index],
        lengths=scored.scores.lengths.float()[index],
        mask=mask,
        **tables,
        **_common(scored),
    )


LIST_FIELDS = ("rewards", "ranks", "behaviour_logps", "prior_logps", "attribute_logps")
"""Fields of ``Lists`` that the data gives, one number per response."""


def _table(scored: Scored, name: str, width: int) -> Tensor | None:
    """A value of every response, float32 [L, K], 0 where there is none; None where an item lacks it."""
    rows = [scored.items[i].values.get(name) for i in scored.pack.items]
    if any(row is None for row in rows):
        return None
    padded = [[*row, *[0.0] * (width - len(row))] for row in rows]  # type: ignore[misc, arg-type]
    return torch.tensor(padded, dtype=torch.float32, device=scored.scores.logps.device)


def _tokens(scored: Scored) -> Tokens:
    """Tokens of every item's first response: the demonstration itself, a pair's chosen, a list's best, a single that is good."""
    device = scored.scores.logps.device
    first = _first_responses(scored)
    item_of_response = torch.full((len(scored.scores.lengths),), -1, device=device)
    for number, (response, item) in enumerate(zip(first, scored.pack.items, strict=True)):
        if is_example(scored.items[item]):
            item_of_response[response] = number
    owner = item_of_response[scored.scores.owner]
    mine = owner >= 0
    common = _common(scored)
    return Tokens(
        logps=scored.scores.token_logps[mine],
        ref_logps=None if scored.reference is None else scored.reference[mine],
        owner=owner[mine],
        weight=common["weight"][owner[mine]],
        conversation=common["conversation"],
    )


def is_example(item: Item) -> bool:
    """False for what nobody should imitate: a single that was rated bad."""
    return bool(item.values.get("desirable", True))


def with_statistics(items: Items, statistics: Mapping[str, Tensor]) -> Items:
    """The items with the step's statistics set: on fields of their names, the others in ``step``."""
    if not statistics:
        return items
    moved = {name: value.to(_device(items)) for name, value in statistics.items()}
    own: dict[str, Any] = {name: moved.pop(name) for name in list(moved) if hasattr(items, name)}
    return replace(items, **own, step=moved or None)


def _device(items: Items) -> torch.device:
    return (items.chosen_logps if isinstance(items, Pairs) else items.logps).device


def concatenate(parts: Sequence[Items]) -> Items:
    """Items of several packs as one, on the CPU (what ``statistics`` are computed from)."""
    first = parts[0]
    merged: dict[str, Any] = {}
    for name in first.__dataclass_fields__:
        values = [getattr(p, name) for p in parts]
        if any(v is None for v in values):
            merged[name] = None
        elif isinstance(values[0], Tensor):
            merged[name] = torch.cat([v.detach().cpu() for v in values])
        else:
            merged[name] = [c for v in values for c in v]
    return type(first)(**merged)
