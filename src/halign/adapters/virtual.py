"""Virtual tokens: trained vectors before every path, as embeddings (prompt tuning) or as keys and values (prefix tuning).

They shift positions and masks, so paths of such a model are never shared: every path goes through it by itself, behind them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def virtual_tokens(model: Any) -> int:
    """How many virtual tokens a model has before every path; 0 without."""
    config = model.active_peft_config if hasattr(model, "peft_config") else None
    return int(config.num_virtual_tokens) if config is not None and config.is_prompt_learning else 0


def prepend(model: Any, inputs: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Put a model's virtual tokens before rows of single paths.

    Args:
        model: possibly wrapped by peft; other models' inputs come back as they are, as do those of one whose adapters are off.
        inputs: what goes to the backbone; ``input_ids`` int64 [B, T], padded on the right.

    Returns:
        the inputs, and how many positions of the output come before the first path token.
    """
    count = virtual_tokens(model)
    if not count or model._adapters_disabled:
        return inputs, 0
    rest = {k: v for k, v in inputs.items() if k != "input_ids"}
    ids: Tensor = inputs["input_ids"]
    made = model.get_prompt(batch_size=len(ids))
    if not isinstance(made, Tensor):  # keys and values
        return {**rest, "input_ids": ids, "past_key_values": made}, 0
    known = model.get_base_model().get_input_embeddings()(ids)
    return {**rest, "inputs_embeds": torch.cat((made.to(known.dtype), known), 1)}, count


def begin_cache(model: Any, cache: Any, rows: int) -> int:
    """Put the keys and values of a model's virtual tokens into an empty key-value cache of ``rows`` rows; how many."""
    count = virtual_tokens(model)
    if not count or model._adapters_disabled:
        return 0
    made = model.get_prompt(batch_size=rows)
    if isinstance(made, Tensor):
        inner = model.get_base_model()
        inner(inputs_embeds=made.to(inner.dtype), past_key_values=cache, use_cache=True)
    else:
        for number, layer in enumerate(made.layers):
            cache.update(layer.keys, layer.values, number)
    return count
