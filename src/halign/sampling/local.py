"""Sampling from a Hugging Face model in this process.

Departures from ``model.generate``: prompts are sorted by length and left-padded batch by batch, each prompt
is read once however many replies it gets, finished rows leave the batch, keys and values are never copied
whole, and the noise of a row is its own (``choose.py``), so a reply does not depend on its neighbours beyond
rounding.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from halign.adapters.virtual import begin_cache, virtual_tokens
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.items import Ids
from halign.sampling.cache import align_right, is_plain, roomy_cache, select_rows
from halign.sampling.choose import Noise, draw, restrict
from halign.sampling.protocol import Progress, Sample
from halign.scoring import unwrap

_SHRINK_BELOW = 0.75  # finished rows are dropped from the cache once fewer than this share still run


@dataclass
class Row:
    """One reply in the making."""

    index: int  # place in the flat list of results: prompt * n + sample
    ids: list[int] = field(default_factory=list)
    logps: list[float] = field(default_factory=list)
    finished: bool = False


@dataclass(frozen=True)
class Settings:
    """How to draw.

    Attributes:
        temperature: 0 takes the likeliest token, always.
        top_p, top_k: see ``choose.restrict``; 1.0 and 0 leave the distribution as it is.
        batch_size: replies computed together; None: 32 on a CPU (its caches are small), 256 elsewhere.
        fast_prompts: read prompts in bfloat16 (autocast) and write replies in the model's own precision.
            Twice as fast for small models on a CPU; log-probabilities move by about 1e-2.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 200
    seed: int = 0
    batch_size: int | None = None
    logps: bool = False
    fast_prompts: bool = False

    def __post_init__(self) -> None:
        bounds = {
            "n": self.n >= 1,
            "temperature": self.temperature >= 0,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "max_new_tokens": self.max_new_tokens >= 1,
            "batch_size": self.batch_size is None or self.batch_size >= 1,
        }
        for name, fine in bounds.items():
            if not fine:
                raise HalignError(f"sampling: {name} = {getattr(self, name)} is out of range")


class TransformersSampler:
    """Samples from a policy (``.model``, ``.tokenizer``) with its own chat template.

    Args:
        policy: what ``halign.models.load`` returns.
        renderer: turns dialogues into ids; if not given, the one the policy was trained with.
        prefix: words that replies are made to begin with (they are no part of what is returned); None: those the policy was
            trained for, "" for most.
    """

    def __init__(self, policy: Any, *, renderer: Any = None, prefix: str | None = None) -> None:
        self.policy = policy
        if renderer is not None and prefix is not None:
            raise HalignError("give either a renderer or a prefix: the renderer has one of its own")
        if renderer is None:
            from halign.render import Renderer

            own = {} if prefix is None else {"response_prefix": prefix}
            renderer = Renderer(policy.tokenizer, **{"stop_ids": policy.stop_ids, **policy.rendering, **own})
        self.renderer = renderer

    def sample(
        self,
        prompts: Sequence[Dialogue],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 200,
        seed: int = 0,
        batch_size: int | None = None,
        logps: bool = False,
        fast_prompts: bool = False,
        progress: Progress | None = None,
    ) -> list[list[Sample]]:
        """``n`` replies to each prompt, in the order of the prompts.

        A reply depends on the model, its prompt, the settings, ``seed`` and the prompt's place in
        ``prompts``, not on the batch it is computed in (up to rounding).

        Args:
            batch_size, fast_prompts: see ``Settings``.
            logps: keep each token's log-probability under the distribution it was drawn from.
        """
        settings = Settings(
            n, temperature, top_p, top_k, max_new_tokens, seed, batch_size, logps, fast_prompts
        )
        ids = [self.renderer.prompt(p) for p in prompts]
        rows = sample_ids(self.policy.model, ids, self.renderer.stop_ids, settings, progress)
        flat = [self._sample(row, logps) for row in rows]
        return [flat[i : i + n] for i in range(0, len(flat), n)]

    def _sample(self, row: Row, logps: bool) -> Sample:
        ids = np.asarray(row.ids, dtype=np.int32)
        kept = np.asarray(row.logps, dtype=np.float32) if logps else None
        return Sample(self.renderer.decode_response(ids).strip(), ids, row.finished, kept)


@torch.inference_mode()
def sample_ids(
    model: Any,
    prompts: Sequence[Ids],
    stop_ids: Sequence[int],
    settings: Settings,
    progress: Progress | None = None,
) -> list[Row]:
    """``settings.n`` rows per prompt of token ids, in order. Leaves the model's training mode as it found
    it.
    """
    rows: list[Row] = [Row(i) for i in range(len(prompts) * settings.n)]
    order = sorted(
        range(len(prompts)), key=lambda i: -len(prompts[i])
    )  # longest first: memory runs out early or never
    on_cpu = next(model.parameters()).device.type == "cpu"
    per_batch = max(1, (settings.batch_size or (32 if on_cpu else 256)) // settings.n)
    if virtual_tokens(model) and not _plain(unwrap(model), roomy_cache(model.config, room=1)):
        per_batch = 1  # padding between virtual tokens and a prompt would count in a sliding window
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), per_batch):
            chosen = order[start : start + per_batch]
            mine = [rows[i * settings.n + s] for i in chosen for s in range(settings.n)]
            _Decoder(model, [prompts[i] for i in chosen], mine, stop_ids, settings).run()
            if progress:
                progress(min(start + per_batch, len(order)) * settings.n, len(rows))
    finally:
        model.train(was_training)
    return rows


def _plain(inner: Any, cache: Any) -> bool:
    return is_plain(cache) and inner.config._attn_implementation == "sdpa"


class _Decoder:
    """Decodes one batch to its end."""

    def __init__(
        self, model: Any, prompts: list[Ids], rows: list[Row], stop_ids: Sequence[int], settings: Settings
    ) -> None:
        # adapters' layers are inside; peft's own forward would hide which arguments the model takes
        self.model, self.rows, self.settings = unwrap(model), rows, settings
        self.device = next(model.parameters()).device
        self.stop = torch.tensor(sorted(stop_ids), device=self.device)
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

    def run(self) -> None:
        s = self.settings
        width = self.width
        logits = self._read_causal() if self.plain and width > self.ahead + 1 else self._read_padded()
        if s.n > 1:  # each prompt was read once; now one row per reply
            repeat = torch.arange(len(logits), device=self.device).repeat_interleave(s.n)
            select_rows(self.cache, repeat)
            logits, self.mask, self.lengths = logits[repeat], self.mask[repeat], self.lengths[repeat]
        keys: list[tuple[int, ...]] = [(s.seed, *divmod(row.index, s.n)) for row in self.rows]
        noise = Noise(keys, logits.shape[-1]) if s.temperature > 0 else None
        for step in range(s.max_new_tokens):
            token = self._choose(logits, noise)
            alive = [r for r, row in enumerate(self.rows) if not row.finished]
            if not alive or step == s.max_new_tokens - 1:
                return
            if len(alive) < _SHRINK_BELOW * len(self.rows):
                keep = torch.tensor(alive, device=self.device)
                select_rows(self.cache, keep)
                self.rows = [self.rows[r] for r in alive]
                token, self.mask, self.lengths = token[keep], self.mask[keep], self.lengths[keep]
                if noise is not None:
                    noise.keep(alive)
            self.mask[:, width + step] = True
            logits = self._forward(
                token[:, None], self.mask[:, : width + step + 1], (self.lengths + step)[:, None]
            )

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
        CPU), then
        move keys and values to the right and read each prompt's last token."""
        ids = self._padded(left=False)
        positions = torch.arange(self.ahead, self.width - 1, device=self.device)[None]
        kwargs: dict[str, Any] = {"position_ids": positions}
        kwargs = {**(kwargs if self.takes_positions else {}), **self.extra}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.fast_prompts):
            self.model(ids[:, :-1], past_key_values=self.cache, use_cache=True, **kwargs)
        align_right(self.cache, self.lengths - 1, self.model.dtype)
        last = ids.gather(1, self.lengths[:, None] - self.ahead - 1)
        return self._forward(last, self.mask[:, : self.width], self.lengths[:, None] - 1)

    def _choose(self, logits: Tensor, noise: Noise | None) -> Tensor:
        """The next token of every row, noted down in the rows that still run."""
        s = self.settings
        if noise is None:
            token = logits.argmax(-1)
            logps = torch.zeros_like(logits) if s.logps else None  # greedy is certain: log 1
        else:
            logps = restrict(logits, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p)
            token = draw(logps, noise.next())
        values = logps.gather(1, token[:, None])[:, 0].tolist() if s.logps and logps is not None else None
        stopped = torch.isin(token, self.stop).tolist()
        for r, (row, t) in enumerate(zip(self.rows, token.tolist(), strict=True)):
            if row.finished:
                continue
            row.ids.append(t)
            if values is not None:
                row.logps.append(values[r])
            row.finished = stopped[r]
        return token

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """Logits of the last position, [B, V]; the cache grows by what was read."""
        if self.plain and ids.shape[1] == 1:  # one new token sees all that is not padding: no mask to build
            mask = mask[:, None, None, :]
        kwargs: dict[str, Any] = {**self.extra}
        if self.takes_positions:
            kwargs["position_ids"] = positions
        out = self.model(ids, attention_mask=mask, past_key_values=self.cache, use_cache=True, **kwargs)
        return out.logits[:, -1]
