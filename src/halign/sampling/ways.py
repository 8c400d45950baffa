"""Which way of decoding is right for a model, measured: no list of names decides.

A small copy of the model's configuration, with short windows, is made to write given tokens after prompts of different
lengths, several at a time, and its logits are compared with those of plain passes over each whole sequence. The first way
whose numbers agree is taken:

    seats    every prompt kept once, replies in one row, no padding, continuous refill (CPU)
    padded   transformers' caches, prompts left-padded
    cached   the state that the model hands back, rows of equal length
    whole    everything read again at every step
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from halign.adapters.virtual import virtual_tokens
from halign.items import Ids
from halign.models import architecture
from halign.probe import TOLERANCE, small_copy
from halign.sampling.alike import decode_cached, decode_whole
from halign.sampling.padded import decode_padded
from halign.sampling.refill import decode_seated
from halign.sampling.rows import Picks, Row
from halign.sampling.settings import Settings
from halign.scoring import unwrap
from halign.trie_attention import NAME

log = logging.getLogger(__name__)

_found: dict[tuple[Any, ...], str] = {}


class Way(Protocol):
    """Writes replies to prompts."""

    def __call__(
        self,
        model: Any,
        prompts: Sequence[Ids],
        rows: Sequence[Row],
        picks: Picks,
        settings: Settings,
    ) -> Iterator[int]:
        """Write all rows (``settings.n`` a prompt, in the order of the prompts) to their end, in evaluation mode and without
        gradient; yields at every step how many were done by it."""
        ...


WAYS: dict[str, Way] = {
    "seats": decode_seated,
    "padded": decode_padded,
    "cached": decode_cached,
    "whole": decode_whole,
}


def way_for(model: Any) -> str:
    """The name of the way of decoding that is right for a model; measured once per configuration and process."""
    if virtual_tokens(model):
        return "padded"  # only it begins behind virtual tokens
    inner = unwrap(model)
    devices = {p.device.type for p in inner.parameters()}
    implementation = inner.config._attn_implementation
    seated = devices == {"cpu"} and implementation in ("sdpa", NAME)
    key = (type(inner), architecture(inner), implementation, seated)
    if key not in _found:
        _found[key] = _measured(inner, seated)
    return _found[key]


def _measured(inner: Any, seated: bool) -> str:
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(0)
        try:
            small = small_copy(inner)
        except Exception as error:  # whatever a configuration does when it is made smaller
            log.warning(
                "%s: no small copy could be made to measure ways of decoding (%s: %s); every token reads all before it again",
                *(type(inner).__name__, type(error).__name__, error),
            )
            return "whole"
        reasons = []
        for name in ("seats", "padded", "cached") if seated else ("padded", "cached"):
            try:
                worst = difference(small, WAYS[name])
                why = f"off by {worst:.2g} nats"
            except Exception as error:  # whatever a model does with a mask or a cache it does not know
                worst, why = float("inf"), f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
            if worst <= TOLERANCE:
                return name
            reasons.append(f"{name}: {why}")
            log.info("%s: decoding cannot be %s (%s)", type(inner).__name__, name, why)
    log.warning("%s: every token reads all before it again (%s)", type(inner).__name__, "; ".join(reasons))
    return "whole"


class Forced:
    """Picks given tokens, and keeps the log-probabilities of the whole vocabulary each was picked from."""

    def __init__(self, replies: Sequence[Sequence[int]]) -> None:
        self.replies = replies
        self.seen: list[list[Tensor]] = [[] for _ in replies]

    def pick(self, rows: Sequence[Row], logits: Tensor) -> list[int]:
        """The next token of each row's given reply."""
        picked = []
        for row, scores in zip(rows, logits.float().log_softmax(-1), strict=True):
            reply = self.replies[row.index]
            self.seen[row.index].append(scores)
            picked.append(reply[len(row.ids)])
            row.ids.append(picked[-1])
            row.done = len(row.ids) == len(reply)
        return picked


@torch.inference_mode()
def difference(model: Any, way: Way) -> float:
    """Largest difference between a way's log-probabilities and those of plain passes, in nats. Prompts and replies are of
    different lengths, and longer than the windows of a ``small_copy``; fewer fit into a batch than there are."""
    rng = np.random.default_rng(0)
    size = model.config.vocab_size
    prompts = [rng.integers(1, size, length).astype(np.int32) for length in (9, 17, 1, 4, 17, 11)]
    replies = [rng.integers(1, size, length).tolist() for length in (3, 12, 1, 9, 5, 2, 14, 7, 8, 4, 2, 10)]
    forced = Forced(replies)
    settings = Settings(n=2, batch_size=6, max_new_tokens=14)
    for _ in way(model, prompts, [Row(i) for i in range(12)], forced, settings):
        pass
    worst = 0.0
    for i, reply in enumerate(replies):
        prompt = prompts[i // 2]
        ids = torch.from_numpy(np.concatenate([prompt, reply]).astype(np.int64))[None]
        apart = model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
        found = float((torch.stack(forced.seen[i]) - apart).abs().max())
        worst = max(worst, found) if found == found else float("inf")
    return worst
