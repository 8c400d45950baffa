"""Decoding for models that padding disturbs: rows of equal length together, nothing masked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halign.items import Ids
from halign.sampling.rows import Picks, Row
from halign.sampling.settings import Settings
from halign.scoring import unwrap

CACHES = ("past_key_values", "cache_params")
"""What models call the state that they hand back and take again."""


def decode_alike(
    model: Any,
    prompts: Sequence[Ids],
    rows: Sequence[Row],
    picks: Picks,
    settings: Settings,
    *,
    cached: bool,
) -> Iterator[int]:
    """See ``ways.Way``.

    Args:
        cached: go on from the state that the model hands back; else read everything again at every step, which no model
            can get wrong.
    """
    inner = unwrap(model)
    device = next(inner.parameters()).device
    at_once = settings.n * settings.prompts_at_once(inner, max(map(len, prompts)))
    by_length = defaultdict(list)
    for row in rows:
        by_length[len(prompts[row.index // settings.n])].append(row)
    for alike in by_length.values():
        for start in range(0, len(alike), at_once):
            mine = alike[start : start + at_once]
            read = np.stack([prompts[row.index // settings.n] for row in mine]).astype(np.int64)
            yield from _write(inner, torch.from_numpy(read).to(device), mine, picks, cached)


decode_cached = partial(decode_alike, cached=True)
decode_whole = partial(decode_alike, cached=False)


def _write(inner: Any, read: Tensor, rows: list[Row], picks: Picks, cached: bool) -> Iterator[int]:
    """Replies to prompts of one length, int64 [B, T]; yields at every step how many were done by it. Rows that
    are done stay in the batch, unheard, until all are."""
    given = read
    state: dict[str, Any] = {}
    while True:
        out = inner(given, use_cache=cached, **state)
        running = [r for r, row in enumerate(rows) if not row.done]
        picked = picks.pick([rows[r] for r in running], out.logits[running, -1])
        still = sum(not row.done for row in rows)
        yield len(running) - still
        if not still:
            return
        token = torch.zeros(len(rows), 1, dtype=torch.long)
        token[running, 0] = torch.tensor(picked)
        token = token.to(read.device)
        if cached:
            given, state = token, {name: out[name] for name in CACHES if out.get(name) is not None}
        else:
            given = torch.cat((given, token), 1)
