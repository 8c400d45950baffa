"""Sampling from a Hugging Face model in this process.

Departures from ``model.generate``: each prompt is read once however many replies it gets, finished rows leave and waiting
prompts take their places, keys and values are never copied whole, and the noise of a row is its own (``choose.py``), so a
reply does not depend on its neighbours beyond rounding. How a model is decoded is measured (``ways.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from halign.adapters.virtual import virtual_tokens
from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.items import Ids
from halign.sampling.endings import Reader
from halign.sampling.protocol import Progress, Sample
from halign.sampling.rows import Picker, Picks, Row
from halign.sampling.settings import Settings
from halign.sampling.ways import WAYS, way_for
from halign.scoring import unwrap

__all__ = ["Row", "Settings", "TransformersSampler", "sample_ids"]


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
        stop: Sequence[str] = (),
        seed: int = 0,
        batch_size: int | None = None,
        logps: bool = False,
        fast_prompts: bool = False,
        refill: bool = True,
        first: int = 0,
        progress: Progress | None = None,
    ) -> list[list[Sample]]:
        """``n`` replies to each prompt, in the order of the prompts.

        A reply depends on the model, its prompt, the settings, ``seed`` and the prompt's place in
        ``prompts``, not on the batch it is computed in (up to rounding).

        Args:
            stop: a reply ends where one of these strings appears; its text is cut before it, its ids are kept up to and
                including the token that completed it.
            logps: keep each token's log-probability under the distribution it was drawn from.
            batch_size, fast_prompts, refill, first: see ``Settings``.

        Raises:
            HalignError: a setting is out of range, or a prompt cannot be rendered or leaves no room for a reply.
        """
        settings = Settings(
            n=n,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_new_tokens=max_new_tokens,
            seed=seed,
            batch_size=batch_size,
            logps=logps,
            fast_prompts=fast_prompts,
            stop=stop,
            refill=refill,
            first=first,
        )
        ids = [self.renderer.prompt(p) for p in prompts]
        reader = Reader(self.renderer.decode_response, stop)
        ends = reader.ends if stop else None
        rows = sample_ids(self.policy.model, ids, self.renderer.stop_ids, settings, progress, ends=ends)
        flat = [self._sample(row, reader, logps) for row in rows]
        return [flat[i : i + n] for i in range(0, len(flat), n)]

    def stream(
        self,
        prompt: Dialogue,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int = 200,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> Iterator[str]:
        """One reply in pieces, as it is written. Joined they are the text that ``sample([prompt], ...)`` gives with the same
        settings.

        Raises:
            HalignError: as ``sample``.
        """
        settings = Settings(
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_new_tokens=max_new_tokens,
            stop=stop,
            seed=seed,
        )
        reader = Reader(self.renderer.decode_response, stop)
        ids = self.renderer.prompt(prompt)
        (row,) = rows_of(self.policy.model, [ids], settings)
        picker = Picker(settings, self.renderer.stop_ids, reader.ends if stop else None)
        said = ""
        for _ in written(self.policy.model, [ids], [row], picker, settings):
            sure = reader.text(row.ids) if row.done else reader.sure(row.ids)
            if len(sure) > len(said):
                yield sure[len(said) :]
                said = sure

    def _sample(self, row: Row, reader: Reader, logps: bool) -> Sample:
        ids = np.asarray(row.ids, dtype=np.int32)
        kept = np.asarray(row.logps, dtype=np.float32) if logps else None
        return Sample(reader.text(row.ids), ids, row.finished, kept)


def sample_ids(
    model: Any,
    prompts: Sequence[Ids],
    stop_ids: Collection[int],
    settings: Settings,
    progress: Progress | None = None,
    *,
    ends: Callable[[list[int]], bool] | None = None,
) -> list[Row]:
    """``settings.n`` rows per prompt of token ids, in order. Leaves the model's training mode as it found
    it.

    Args:
        ends: told a reply's ids so far after every token; True ends it.

    Raises:
        HalignError: a prompt leaves no room for a reply in the model's window.
    """
    rows, done = rows_of(model, prompts, settings), 0
    for more in written(model, prompts, rows, Picker(settings, stop_ids, ends), settings):
        done += more
        if more and progress:
            progress(done, len(rows))
    return rows


def rows_of(model: Any, prompts: Sequence[Ids], settings: Settings) -> list[Row]:
    """``settings.n`` rows per prompt, nothing written yet. Where a model was made for so many positions, a row ends with them.

    Raises:
        HalignError: a prompt leaves no room for a reply.
    """
    known = getattr(unwrap(model).config, "max_position_embeddings", None)
    room = [math.inf] * len(prompts)
    if isinstance(known, int):
        ahead = virtual_tokens(model)
        room = [known - ahead - len(p) for p in prompts]
        full = next((i for i, r in enumerate(room) if r < 1), None)
        if full is not None:
            raise HalignError(
                f"sampling: prompt {full} has {len(prompts[full])} tokens, and the model has positions for {known - ahead}, "
                "prompt and reply together; leave it out, or let old turns be dropped (max_length in the settings of training)"
            )
    return [Row(i, room=room[i // settings.n]) for i in range(len(prompts) * settings.n)]


@torch.inference_mode()
def written(
    model: Any, prompts: Sequence[Ids], rows: Sequence[Row], picks: Picks, settings: Settings
) -> Iterator[int]:
    """Write rows (``settings.n`` a prompt) to their end in the way that is right for the model; yields at every step how many
    were done by it. The model is the generator's until it ends or is closed."""
    if not prompts:
        return
    was_training = model.training
    model.eval()
    try:
        yield from WAYS[way_for(model)](model, prompts, rows, picks, settings)
    finally:
        model.train(was_training)
