"""What a step's log line says, as sums and counts that add up over packs and ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from halign.objectives.items import Items, Lists, Pairs, Singles, Tokens

Sums = dict[str, tuple[float, float]]
"""name -> (sum, count); their quotient is the mean that is logged. A count of 0 marks a plain sum (a loss's shares, tokens)."""


def measure(items: Items) -> Sums:
    """Means worth watching, in nats unless they are shares.

    Pairs: ``accuracy`` (share with the chosen ahead), ``margin`` (log-ratio gap Dw - Dl, or of the log-probabilities when
    there is no reference), ``chosen_logps``, ``rejected_logps``, ``chosen_logratio``, ``rejected_logratio``. Lists:
    ``best_logps``, ``best_logratio``. Singles: the log-ratios of the good and the bad, ``z0``. Tokens: ``nll`` per token.
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
        elif isinstance(items, Tokens):
            values = {"nll": -items.logps}
    return as_sums(values)


def as_sums(values: Mapping[str, Tensor]) -> Sums:
    """Values per item -> their sums and counts."""
    return {k: (float(v.detach().sum()), float(v.numel())) for k, v in values.items() if v.numel()}


def _pairs(pairs: Pairs) -> dict[str, Tensor]:
    chosen, rejected = pairs.chosen_logps, pairs.rejected_logps
    values = {"chosen_logps": chosen, "rejected_logps": rejected}
    if pairs.ref_chosen_logps is not None and pairs.ref_rejected_logps is not None:
        chosen, rejected = chosen - pairs.ref_chosen_logps, rejected - pairs.ref_rejected_logps
        values |= {"chosen_logratio": chosen, "rejected_logratio": rejected}
    margin = chosen - rejected
    # a tie is half right: before training every margin is zero, and chance is one half
    accuracy = (margin > 0).float() + 0.5 * (margin == 0).float()
    return values | {"margin": margin, "accuracy": accuracy}


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
    zero = (0.0, 0.0)
    return {
        k: (total.get(k, zero)[0] + more.get(k, zero)[0], total.get(k, zero)[1] + more.get(k, zero)[1])
        for k in names
    }


def total(parts: Iterable[Sums]) -> Sums:
    """Sum of many."""
    result: Sums = {}
    for part in parts:
        result = add(result, part)
    return result


def means(sums: Sums) -> dict[str, float]:
    """The quotients, and the plain sums."""
    return {k: s / n if n else s for k, (s, n) in sums.items()}
