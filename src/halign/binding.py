"""From a pack and its scores to what objectives take: Pairs, Lists, Singles, Tokens; ValuePairs ... of a reward model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halign.items import Item, Kind
from halign.objectives.items import (
    Items,
    Lists,
    Pairs,
    Rollouts,
    Singles,
    Tokens,
    ValueLists,
    ValuePairs,
    ValueSingles,
)
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
        return self._summed(self.reference)

    @property
    def kl(self) -> Tensor | None:
        """KL(reference || policy) of whole distributions, summed over each response's tokens, float32 [R]."""
        return self._summed(self.scores.token_kl)

    def _summed(self, per_token: Tensor | None) -> Tensor | None:
        if per_token is None:
            return None
        zeros = torch.zeros(len(self.scores.lengths), dtype=torch.float32, device=per_token.device)
        return zeros.index_add_(0, self.scores.owner, per_token)


def bind(kind: Kind, scored: Scored) -> Items:
    """The pack's items of one kind. ``tokens`` are also read off the first responses of pairs, lists and good singles.

    Where the scores are a reward model's values, ``ValuePairs``, ``ValueLists`` or ``ValueSingles``."""
    if scored.scores.values is not None:
        return _VALUED[kind](scored, scored.scores.values)
    makers: dict[Kind, Callable[[Scored], Items]] = {
        "pairs": _pairs,
        "lists": _lists,
        "singles": _singles,
        "tokens": _tokens,
        "rollouts": _rollouts,
    }
    return makers[kind](scored)


@dataclass(frozen=True)
class _Picked:
    """Some of a pack's items: ``first`` is the number of each one's first response; its others follow."""

    items: list[Item]
    first: list[int]
    device: torch.device

    @classmethod
    def of(cls, scored: Scored, wanted: Callable[[Item], bool]) -> _Picked:
        first: dict[int, int] = {}
        for response, slot in enumerate(scored.pack.slots):
            first.setdefault(slot.item, response)
        chosen = {i: r for i, r in first.items() if wanted(scored.items[i])}
        return cls([scored.items[i] for i in chosen], list(chosen.values()), scored.scores.lengths.device)

    def responses(self) -> Tensor:
        """int64, the first response of each item."""
        return torch.tensor(self.first, dtype=torch.long, device=self.device)

    def column(self, name: str, default: float | None = None) -> Tensor | None:
        """A value of every item as float32, or None where no item has it (or all have the default)."""
        values = [i.values.get(name, default) for i in self.items]
        if (values and all(v is None for v in values)) or (
            default is not None and all(v == default for v in values)
        ):
            return None
        numbers = [float("nan") if v is None else float(v) for v in values]  # type: ignore[arg-type]
        return torch.tensor(numbers, device=self.device)

    def table(self, name: str, width: int) -> Tensor | None:
        """A value of every response, float32 [L, K], 0 where there is none; None unless every item has it."""
        rows = [i.values.get(name) for i in self.items]
        if not rows or any(row is None for row in rows):
            return None
        padded = [[*row, *[0.0] * (width - len(row))] for row in rows]  # type: ignore[misc, arg-type]
        return torch.tensor(padded, dtype=torch.float32, device=self.device)

    def common(self) -> dict[str, Any]:
        """Weights and conversations."""
        weights = [i.weight for i in self.items]
        return {
            "weight": torch.tensor(weights, dtype=torch.float32, device=self.device),
            "conversation": [i.conversation for i in self.items],
        }

    def places(self) -> tuple[Tensor, Tensor]:
        """Of lists: the number of each response, int64 [L, K], and where there is one, bool [L, K]."""
        counts = [len(i.paths) for i in self.items]
        places = torch.arange(max(counts, default=1), device=self.device)[None, :]
        last = torch.tensor(counts, dtype=torch.long, device=self.device)[:, None] - 1
        return self.responses()[:, None] + torch.minimum(places, last), places <= last


def _pairs(scored: Scored) -> Pairs:
    picked = _Picked.of(scored, lambda i: i.kind == "pairs")
    chosen = picked.responses()
    rejected = chosen + 1
    logps, ref, lengths = scored.scores.logps, scored.ref_logps, scored.scores.lengths.float()
    kl = scored.kl
    return Pairs(
        chosen_logps=logps[chosen],
        rejected_logps=logps[rejected],
        ref_chosen_logps=None if ref is None else ref[chosen],
        ref_rejected_logps=None if ref is None else ref[rejected],
        chosen_lengths=lengths[chosen],
        rejected_lengths=lengths[rejected],
        preference=picked.column("preference", 1.0),
        chosen_win_rate=picked.column("chosen_win_rate"),
        rejected_win_rate=picked.column("rejected_win_rate"),
        target_kl=None if kl is None else kl[chosen],
        **picked.common(),
    )


def _singles(scored: Scored) -> Singles:
    picked = _Picked.of(scored, lambda i: i.kind == "singles")
    first, ref = picked.responses(), scored.ref_logps
    desirable = picked.column("desirable")
    return Singles(
        logps=scored.scores.logps[first],
        ref_logps=None if ref is None else ref[first],
        lengths=scored.scores.lengths.float()[first],
        desirable=None if desirable is None else desirable.bool(),
        **picked.common(),
    )


def _lists(scored: Scored) -> Lists:
    picked = _Picked.of(scored, lambda i: i.kind == "lists")
    index, mask = picked.places()
    ref = scored.ref_logps
    tables: dict[str, Any] = {name: picked.table(name, mask.shape[1]) for name in LIST_FIELDS}
    return Lists(
        logps=scored.scores.logps[index],
        ref_logps=None if ref is None else ref[index],
        lengths=scored.scores.lengths.float()[index],
        mask=mask,
        **tables,
        **picked.common(),
    )


def _value_lists(scored: Scored, values: Tensor) -> ValueLists:
    picked = _Picked.of(scored, lambda i: i.kind == "lists")
    index, mask = picked.places()
    return ValueLists(
        values=values[index, 0],
        mask=mask,
        ranks=picked.table("ranks", mask.shape[1]),
        rewards=picked.table("rewards", mask.shape[1]),
        lengths=scored.scores.lengths.float()[index],
        preference=picked.column("preference", 1.0),
        **picked.common(),
    )


def _value_pairs(scored: Scored, values: Tensor) -> ValuePairs:
    picked = _Picked.of(scored, lambda i: i.kind == "pairs")
    chosen, lengths = picked.responses(), picked.table("lengths", 2)
    return ValuePairs(
        chosen_values=values[chosen, 0],
        rejected_values=values[chosen + 1, 0],
        preference=picked.column("preference", 1.0),
        chosen_lengths=None if lengths is None else lengths[:, 0],
        rejected_lengths=None if lengths is None else lengths[:, 1],
        **picked.common(),
    )


def _value_singles(scored: Scored, values: Tensor) -> ValueSingles:
    picked = _Picked.of(scored, lambda i: i.kind == "singles")
    rows: list[Any] = [i.values["attributes"] for i in picked.items]
    known = torch.tensor(rows, dtype=torch.float32, device=picked.device).reshape(len(rows), -1)
    return ValueSingles(values=values[picked.responses()], attributes=known, **picked.common())


_VALUED: dict[Kind, Callable[[Scored, Tensor], Items]] = {
    "lists": _value_lists,
    "pairs": _value_pairs,
    "singles": _value_singles,
}

LIST_FIELDS = ("rewards", "ranks", "behaviour_logps", "prior_logps", "attribute_logps")
"""Fields of ``Lists`` that the data gives, one number per response."""


def _tokens(scored: Scored) -> Tokens:
    """Tokens of first responses: the demonstration itself, and what else is to be imitated."""
    picked = _Picked.of(scored, is_example)
    owner, mine = _token_owners(scored, picked)
    common = picked.common()
    return Tokens(
        logps=scored.scores.token_logps[mine],
        ref_logps=None if scored.reference is None else scored.reference[mine],
        owner=owner,
        weight=common["weight"][owner],
        conversation=common["conversation"],
    )


def _rollouts(scored: Scored) -> Rollouts:
    """Tokens of the policy's own replies, with what was noted about each when it was drawn."""
    picked = _Picked.of(scored, lambda i: i.kind == "rollouts")
    owner, mine = _token_owners(scored, picked)
    common, values = picked.common(), scored.scores.token_values
    names = dict.fromkeys(name for item in picked.items for name in item.per_token)
    noted: dict[str, Any] = {
        # items stand in the order of their responses, and so do the scores' tokens
        name: torch.from_numpy(np.concatenate([i.per_token[name] for i in picked.items])).to(picked.device)
        for name in names
    }
    return Rollouts(
        logps=scored.scores.token_logps[mine],
        values=None if values is None else values[mine],
        owner=owner,
        weight=common["weight"][owner],
        conversation=common["conversation"],
        **noted,
    )


def _token_owners(scored: Scored, picked: _Picked) -> tuple[Tensor, Tensor]:
    """Of the picked items' first responses: which item each token belongs to, int64 [T], and where they are among the scores'
    tokens, bool [G]."""
    item_of_response = torch.full((len(scored.scores.lengths),), -1, device=picked.device)
    item_of_response[picked.responses()] = torch.arange(len(picked.items), device=picked.device)
    owner = item_of_response[scored.scores.owner]
    mine = owner >= 0
    return owner[mine], mine


def is_example(item: Item) -> bool:
    """Whether a token objective imitates the item's first response: a demonstration, or what stands for one."""
    return item.kind == "tokens" or bool(item.values.get("imitate", False))


def with_statistics(items: Items, statistics: Mapping[str, Tensor]) -> Items:
    """The items with the step's statistics set: on fields of their names, the others in ``step``."""
    if not statistics:
        return items
    moved = {name: value.to(_device(items)) for name, value in statistics.items()}
    own: dict[str, Any] = {name: moved.pop(name) for name in list(moved) if hasattr(items, name)}
    return replace(items, **own, step=moved or None)


def count(items: Items) -> int:
    """How many there are."""
    return len(_column(items))


def _device(items: Items) -> torch.device:
    return _column(items).device


def _column(items: Items) -> Tensor:
    """What the model said of each item."""
    if isinstance(items, Pairs):
        return items.chosen_logps
    if isinstance(items, ValuePairs):
        return items.chosen_values
    return items.values if isinstance(items, ValueLists | ValueSingles) else items.logps


def concatenate(parts: Sequence[Items]) -> Items:
    """Items of several packs as one, on the CPU (what ``statistics`` are computed from)."""
    first = parts[0]
    merged: dict[str, Any] = {}
    for name in first.__dataclass_fields__:
        values = [getattr(p, name) for p in parts]
        if any(v is None for v in values):
            merged[name] = None
        elif isinstance(values[0], Tensor):
            merged[name] = torch.cat(_equally_wide([v.detach().cpu() for v in values]))
        else:
            merged[name] = [c for v in values for c in v]
    return type(first)(**merged)


def _equally_wide(tables: list[Tensor]) -> list[Tensor]:
    """Tables of lists of different length, padded with zeros (False in a mask); columns as they are."""
    if tables[0].dim() < 2:
        return tables
    width = max(t.shape[1] for t in tables)
    return [torch.nn.functional.pad(t, (0, width - t.shape[1])) for t in tables]
