"""What a step's log line says, as sums and counts that add up over packs and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

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
from halign.objectives.values import compared, tidied_values

Sums = dict[str, tuple[float, float]]
"""name -> (sum, count); their quotient is the mean that is logged. A count of 0 marks a plain sum (a loss's shares, tokens),
-1 the largest value (names that end in ``_max``)."""
LARGEST = -1.0


def measure(items: Items) -> Sums:
    """Means worth watching, in nats unless they are shares.

    Pairs: ``accuracy`` (share with the chosen ahead), ``margin`` (log-ratio gap Dw - Dl, or of the log-probabilities when
    there is no reference), ``chosen_logps``, ``rejected_logps``, ``chosen_logratio``, ``rejected_logratio``. Lists:
    ``best_logps``, ``best_logratio``. Singles: the log-ratios of the good and the bad, ``z0``. Tokens: ``nll`` per token.

    Of reward models: ``accuracy`` and ``margin`` over comparisons (not lists), with ties of the data left out; ``reward``, the
    mean over responses; ``mean_absolute_error`` of attributes.
    """
    values: dict[str, Tensor] = {}
    with torch.no_grad():
        if isinstance(items, Pairs):
            values = _pairs(items)
        elif isinstance(items, Singles):
            values = _singles(items)
        elif isinstance(items, Lists):
            values = {"best_logps": items.logps[:, 0]}
            if items.ref_logps is not None:
                values["best_logratio"] = items.logps[:, 0] - items.ref_logps[:, 0]
        elif isinstance(items, Tokens) and not isinstance(items, Rollouts):
            values = {"nll": -items.logps}
        elif isinstance(items, ValueLists):
            values = _value_lists(items)
        elif isinstance(items, ValuePairs):
            margin = _for_the_preferred((items.chosen_values - items.rejected_values) / 2, items.preference)
            values = {"margin": margin, "accuracy": ahead(margin)}
        elif isinstance(items, ValueSingles):
            known = items.attributes.isfinite()
            values = {"mean_absolute_error": (_expected(items) - items.attributes)[known].abs()}
    return as_sums(values)


def as_sums(values: Mapping[str, Tensor]) -> Sums:
    """Values per item -> their sums and counts; of a name that ends in ``_max``, the largest."""
    return {
        k: (float(v.detach().max()), LARGEST)
        if k.endswith("_max")
        else (float(v.detach().sum()), float(v.numel()))
        for k, v in values.items()
        if v.numel()
    }


def _pairs(pairs: Pairs) -> dict[str, Tensor]:
    chosen, rejected = pairs.chosen_logps, pairs.rejected_logps
    values = {"chosen_logps": chosen, "rejected_logps": rejected}
    if pairs.ref_chosen_logps is not None and pairs.ref_rejected_logps is not None:
        chosen, rejected = chosen - pairs.ref_chosen_logps, rejected - pairs.ref_rejected_logps
        values |= {"chosen_logratio": chosen, "rejected_logratio": rejected}
    margin = chosen - rejected
    return values | {"margin": margin, "accuracy": ahead(margin)}


def ahead(margin: Tensor) -> Tensor:
    """1 where a margin is positive, 0 where it is negative. A tie is half right: before training every margin is zero, and
    chance is one half."""
    return (margin > 0).float() + 0.5 * (margin == 0).float()


def _expected(singles: ValueSingles) -> Tensor:
    """Values of the attributes as the model has them, [R, k]; of categorical ones the expected level."""
    (rows, count), outputs = singles.attributes.shape, singles.values.shape[1]
    if outputs == count:
        return singles.values
    by_level = singles.values.reshape(rows, count, -1).softmax(-1)
    return by_level @ torch.arange(by_level.shape[2], dtype=by_level.dtype, device=by_level.device)


def _value_lists(lists: ValueLists) -> dict[str, Tensor]:
    lists = tidied_values(lists)
    pairs, margins = compared(lists)
    if lists.preference is not None:
        margins = _signed(margins, lists.preference[:, None, None])
        pairs = pairs & (lists.preference != 0.5)[:, None, None]
    margin = margins[pairs]
    return {"margin": margin, "accuracy": ahead(margin), "reward": lists.values[lists.mask]}


def _for_the_preferred(margin: Tensor, preference: Tensor | None) -> Tensor:
    """Margins seen from the response that is preferred; where neither is, none."""
    if preference is None:
        return margin
    return _signed(margin, preference)[preference != 0.5]


def _signed(margin: Tensor, preference: Tensor) -> Tensor:
    return torch.where(preference < 0.5, -margin, margin)


def _singles(singles: Singles) -> dict[str, Tensor]:
    values = {"logps": singles.logps}
    if singles.ref_logps is not None and singles.desirable is not None:
        ratio = singles.logps - singles.ref_logps
        values |= {
            "desirable_logratio": ratio[singles.desirable],
            "undesirable_logratio": ratio[~singles.desirable],
        }
    if singles.kl is not None:
        values["z0"] = singles.kl.reshape(1)
    return values


def add(total: Sums, more: Sums) -> Sums:
    """Sum of two."""
    names = [*total, *(k for k in more if k not in total)]
    return {
        k: _added(total[k], more[k]) if k in total and k in more else total.get(k) or more[k] for k in names
    }


def _added(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return (max(a[0], b[0]), LARGEST) if a[1] == LARGEST else (a[0] + b[0], a[1] + b[1])


def total(parts: Iterable[Sums]) -> Sums:
    """Sum of many."""
    result: Sums = {}
    for part in parts:
        result = add(result, part)
    return result


def means(sums: Sums) -> dict[str, float]:
    """The quotients, the plain sums, the largest values."""
    return {k: s / n if n > 0 else s for k, (s, n) in sums.items()}
