"""Decoding with transformers' own caches: prompts left-padded batch by batch, finished rows leave the batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halign.adapters.virtual import begin_cache, virtual_tokens
from halign.items import Ids
from halign.products import faster_linear
from halign.sampling.cache import align_right, is_plain, roomy_cache, select_rows
from halign.sampling.rows import Picks, Row
from halign.sampling.settings import Settings
from halign.scoring import unwrap
from halign.trie_attention import NAME

_SHRINK_BELOW = 0.75  # finished rows are dropped from the cache once fewer than this share still run


def decode_padded(
    model: Any,
    prompts: Sequence[Ids],
    rows: Sequence[Row],
    picks: Picks,
    settings: Settings,
) -> Iterator[int]:
    """See ``ways.Way``."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))  # memory runs out early or never
    n = settings.n
    per_batch = settings.prompts_at_once(unwrap(model), len(prompts[order[0]]))
    if virtual_tokens(model) and not _plain(unwrap(model), roomy_cache(model.config, room=1)):
        per_batch = 1  # padding between virtual tokens and a prompt would count in a sliding window
    for start in range(0, len(order), per_batch):
        chosen = order[start : start + per_batch]
        mine = [rows[i * n + s] for i in chosen for s in range(n)]
        yield from _Batch(model, [prompts[i] for i in chosen], mine, picks, settings).run()


def _plain(inner: Any, cache: Any) -> bool:
    return is_plain(cache) and inner.config._attn_implementation in ("sdpa", NAME)


class _Batch:
    """Decodes one batch to its end."""

    def __init__(
        self, model: Any, prompts: list[Ids], rows: list[Row], picks: Picks, settings: Settings
    ) -> None:
        # adapters' layers are inside; peft's own forward would hide which arguments the model takes
        self.model, self.rows, self.picks, self.settings = unwrap(model), rows, picks, settings
        self.device = next(model.parameters()).device
        self.cache = roomy_cache(model.config, room=min(settings.max_new_tokens, 256))
        self.ahead = begin_cache(model, self.cache, len(prompts))
        self.plain = _plain(self.model, self.cache)
        takes = inspect.signature(self.model.forward).parameters
        self.extra = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        self.takes_positions = "position_ids" in takes
        self.prompts = prompts
        self.width = self.ahead + max(len(p) for p in prompts)  # of the cache, once the prompts are read
        self.lengths = torch.tensor([self.ahead + len(p) for p in prompts], device=self.device)
        columns = torch.arange(self.width + settings.max_new_tokens, device=self.device)
        self.mask = (columns >= self.width - self.lengths[:, None]) & (columns < self.width)  # left-padded

    def run(self) -> Iterator[int]:
        """All rows, to their end; yields at every step how many were done by it."""
        n, width = self.settings.n, self.width
        logits = self._read_causal() if self.plain and width > self.ahead + 1 else self._read_padded()
        if n > 1:  # each prompt was read once; now one row per reply
            self._keep(torch.arange(len(logits), device=self.device).repeat_interleave(n))
            logits = logits.repeat_interleave(n, 0)
        running = list(range(len(self.rows)))  # rows of the cache that are not done
        for step in range(self.settings.max_new_tokens):
            picked = self.picks.pick([self.rows[r] for r in running], logits[running])
            token = torch.zeros(len(self.rows), dtype=torch.long)
            token[running] = torch.tensor(picked)
            before, running = len(running), [r for r in running if not self.rows[r].done]
            yield before - len(running)
            if not running:
                return
            if len(running) < _SHRINK_BELOW * len(self.rows):
                token = token[running]
                self._keep(torch.tensor(running, device=self.device))
                self.rows = [self.rows[r] for r in running]
                running = list(range(len(self.rows)))
            self.mask[:, width + step] = True
            at = torch.zeros_like(self.lengths)  # rows that are done would run out of the model's positions
            at[running] = self.lengths[running] + step
            logits = self._forward(
                token.to(self.device)[:, None], self.mask[:, : width + step + 1], at[:, None]
            )

    def _keep(self, rows: Tensor) -> None:
        select_rows(self.cache, rows)
        self.mask, self.lengths = self.mask[rows], self.lengths[rows]

    def _padded(self, left: bool) -> Tensor:
        """The prompts as one tensor int64 [B, longest]."""
        longest = self.width - self.ahead
        ids = torch.zeros(len(self.prompts), longest, dtype=torch.long)
        for r, p in enumerate(self.prompts):
            start = longest - len(p) if left else 0
            ids[r, start : start + len(p)] = torch.from_numpy(np.asarray(p, dtype=np.int64))
        return ids.to(self.device)

    def _read_padded(self) -> Tensor:
        """Read the prompts left-padded, under a mask: right for every kind of layer."""
        mask = self.mask[:, : self.width]
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)[:, self.ahead :]
        return self._forward(self._padded(left=True), mask, positions)

    def _read_causal(self) -> Tensor:
        """Read the prompts right-padded, which causal attention needs no mask for (three times faster on a
        CPU), then move keys and values to the right and read each prompt's last token."""
        ids = self._padded(left=False)
        positions = torch.arange(self.ahead, self.width - 1, device=self.device)[None]
        kwargs: dict[str, Any] = {"position_ids": positions}
        kwargs = {**(kwargs if self.takes_positions else {}), **self.extra}
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.fast_prompts),
            faster_linear(),
        ):
            self.model(ids[:, :-1], past_key_values=self.cache, use_cache=True, **kwargs)
        align_right(self.cache, self.lengths - 1, self.model.dtype)
        last = ids.gather(1, self.lengths[:, None] - self.ahead - 1)
        return self._forward(last, self.mask[:, : self.width], self.lengths[:, None] - 1)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Logits of the last position, [B, V]; the cache grows by what was read."""
        if self.plain and ids.shape[1] == 1:  # one new token sees all that is not padding: no mask to build
            mask = mask[:, None, None, :]
        kwargs: dict[str, Any] = {**self.extra}
        if self.takes_positions:
            kwargs["position_ids"] = positions
        with faster_linear():
            out = self.model(ids, attention_mask=mask, past_key_values=self.cache, use_cache=True, **kwargs)
        logits: Tensor = out.logits[:, -1]
        return logits
