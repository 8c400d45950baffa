"""Decoding on a CPU with every prompt kept once, however many replies it gets.

A step's cost is mostly the reading of keys and values. Here a prompt's lie in a *seat*, read by the queries of all
its replies in one product; what a reply has written lies beside them. All replies that still run stand in one row of
tokens, so that no product is spent on those that are done, and prompts are read end to end without padding:

    seat        0            1            2
    prompt      A A A A      B B B        C C C C C        [seats, heads, widest, dim]
    replies     a1 a2        b1 b2        c1 c2            [seats, heads, n, longest, dim]
    the model   a1 a2 b2 c1                                one row of the replies that still run

It is registered with transformers as an attention implementation. The mask that a model is given is a placeholder
that carries the decoder. Whether a model passes it through to its attention, and needs nothing else, is measured (``ways.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from halign.items import Ids
from halign.products import faster_linear
from halign.scoring import backbone, unwrap, use_attention
from halign.trie import FLAT_MULTIPLE
from halign.trie_attention import build_blocks, placeholder, trie_attention_forward

NAME = "halign_seats"
ROOM = 64
"""Tokens of a reply that memory is taken for at a time."""
CHUNK = 16
"""Seats that one product reads: many together are as wide as the longest prompt among them, and leave the processor's cache."""


@dataclass(frozen=True)
class Chunk:
    """Seats [first, last) and what their queries see, additive: of prompts [S, 1, 1, 1, W], of replies [S, 1, n, 1, T]."""

    first: int
    last: int
    of_prompt: Tensor
    of_reply: Tensor


class Layer:
    """Keys and values of one attention layer: of prompts [S, G, W, D], of replies [S, G, n, T, D]."""

    def __init__(self, like: tuple[Tensor, Tensor], seats: int, n: int, widest: int, dtype: torch.dtype):
        def zeros(
            x: Tensor, *shape: int
        ) -> Tensor:  # what nobody has written is multiplied by 0: it must be finite
            return torch.zeros(seats, x.shape[1], *shape, x.shape[-1], dtype=dtype, device=x.device)

        self.prompts = tuple(zeros(x, widest) for x in like)
        self.replies = tuple(zeros(x, n, ROOM) for x in like)

    def roomier(self) -> None:
        """Twice the room for replies."""
        self.replies = tuple(torch.cat((x, torch.zeros_like(x)), 3) for x in self.replies)

    def keep(self, seats: Tensor) -> None:
        """Forget all but these seats."""
        self.prompts = tuple(x[seats] for x in self.prompts)
        self.replies = tuple(x[seats] for x in self.replies)


class Seats:
    """Reads prompts into seats and makes steps of their replies. A reply is called by its place: seat * n + number.

    Args:
        model: possibly wrapped by peft (without virtual tokens); use it under ``attending``.
        seats: prompts at a time; n: replies to each; widest: tokens of the longest prompt.
        fast_prompts: read prompts under bfloat16 autocast.
    """

    def __init__(self, model: Any, seats: int, n: int, widest: int, fast_prompts: bool = False) -> None:
        self.model, self.trunk = unwrap(model), backbone(model)
        self.seats, self.n, self.widest, self.fast_prompts = seats, n, max(1, widest - 1), fast_prompts
        self.layers: dict[nn.Module, Layer] = {}
        self.room = ROOM
        self.read_tokens = torch.zeros(seats, dtype=torch.long)  # of each seat's prompt: all but the last
        self.written = torch.zeros(
            seats * n, dtype=torch.long
        )  # of each reply, the prompt's last token first
        self.reading: list[tuple[int, int, int]] | None = (
            None  # while prompts are read: (seat, start, length)
        )

    def read(self, prompts: Sequence[Ids], seats: Sequence[int]) -> None:
        """Read prompts up to their last token, which is the first that ``step`` is given."""
        lengths = [len(p) - 1 for p in prompts]
        total = sum(lengths)
        self.read_tokens[list(seats)] = torch.tensor(lengths)
        self.written.view(-1, self.n)[list(seats)] = 0
        if not total:
            return
        starts = np.concatenate([[0], np.cumsum(lengths)]).tolist()
        self.reading = list(zip(seats, starts, lengths, strict=False))
        size = -(-total // FLAT_MULTIPLE) * FLAT_MULTIPLE
        ids, positions = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long)
        ends = torch.arange(size) + 1  # padding sees itself
        for prompt, start, length in zip(prompts, starts, lengths, strict=False):
            place = slice(start, start + length)
            ids[place] = torch.from_numpy(np.asarray(prompt[:-1], dtype=np.int64))
            positions[place] = torch.arange(length)
            ends[place] = start + length
        dtype = torch.bfloat16 if self.fast_prompts else self.model.dtype
        segments = tuple(zip(starts, lengths, strict=False))
        mask = placeholder(size, build_blocks(ends, positions, segments, dtype=dtype), ids.device)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.fast_prompts), faster_linear():
            self._call(self.trunk, ids, positions, mask)
        self.reading = None

    def step(self, places: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Logits [A, V] after one more token of each of these replies."""
        self.places = torch.tensor(places)
        self.seat_of, self.number_of = self.places // self.n, self.places % self.n
        self.at = self.written[self.places]
        if int(self.at.max()) >= self.room:
            self.room *= 2
            for layer in self.layers.values():
                layer.roomier()
        self.chunks = self._see()
        positions = self.read_tokens[self.seat_of] + self.at
        mask = placeholder(len(places), (), self.places.device)
        with faster_linear():
            logits = self._call(self.model, torch.tensor(tokens), positions, mask).logits
        self.written[self.places] += 1
        return logits[0]

    def keep(self, seats: Sequence[int]) -> None:
        """Forget all but these seats, which are then called 0, 1, ..."""
        kept = torch.tensor(seats)
        for layer in self.layers.values():
            layer.keep(kept)
        self.read_tokens = self.read_tokens[kept]
        self.written = self.written.view(-1, self.n)[kept].flatten()

    def _call(self, module: Any, ids: Tensor, positions: Tensor, mask: Tensor) -> Any:
        mask.halign_seats = self  # type: ignore[attr-defined]
        return module(ids[None], position_ids=positions[None], attention_mask=mask, use_cache=False)

    def _see(self) -> list[Chunk]:
        """The chunks of a step, with what their queries see."""
        n, occupied, chunks = self.n, int(self.seat_of.max()) + 1, []

        def additive(seen: Tensor) -> Tensor:
            zero = torch.zeros(seen.shape, dtype=self.model.dtype)
            return zero.masked_fill_(~seen, float("-inf"))

        for first in range(0, occupied, CHUNK):
            last = min(first + CHUNK, occupied)
            length, written = self.read_tokens[first:last], self.written[first * n : last * n]
            width, longest = int(length.max()), int(written.max()) + 1
            of_prompt = additive(torch.arange(width) < length[:, None])
            of_reply = additive(torch.arange(longest) <= written.view(-1, n)[..., None])
            chunks.append(Chunk(first, last, of_prompt[:, None, None, None], of_reply[:, None, :, None]))
        return chunks

    def keep_prompts(self, module: nn.Module, key: Tensor, value: Tensor) -> None:
        """Put the keys and values [1, G, tokens, D] of prompts that are read into their seats."""
        assert self.reading is not None
        layer = self.layers.get(module) or self._layer(module, key, value)
        for kept, new in zip(layer.prompts, (key, value), strict=True):
            for seat, start, length in self.reading:
                kept[seat, :, :length] = new[0, :, start : start + length]

    def _layer(self, module: nn.Module, key: Tensor, value: Tensor) -> Layer:
        made = Layer((key, value), self.seats, self.n, self.widest, self.model.dtype)
        while made.replies[0].shape[3] < self.room:
            made.roomier()
        self.layers[module] = made
        return made

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention of a step: query [1, H, A, D], key and value [1, G, A, D] -> [1, A, H, D]."""
        layer = self.layers.get(module) or self._layer(module, key, value)
        for kept, new in zip(layer.replies, (key, value), strict=True):
            kept[self.seat_of, :, self.number_of, self.at] = new[0].transpose(0, 1).to(kept.dtype)
        heads, dim, groups = query.shape[1], query.shape[-1], key.shape[1]
        q = query.new_zeros(self.chunks[-1].last * self.n, heads, dim, dtype=self.model.dtype)
        q[self.places] = (query[0].transpose(0, 1) * scale).to(q.dtype)
        q = q.view(-1, self.n, groups, heads // groups, dim).transpose(1, 2)  # [S, G, n, H / G, D]
        out = torch.cat([_attended(q[c.first : c.last], layer, c) for c in self.chunks])
        return out.transpose(1, 2).reshape(-1, heads, out.shape[-1])[self.places][None]


def _attended(q: Tensor, layer: Layer, chunk: Chunk) -> Tensor:
    """softmax(q k^T) v over a seat's prompt and a reply's own tokens, q [S, G, n, H / G, D]."""
    seats, groups, n, queries, _ = q.shape
    of_prompt, of_reply = chunk.of_prompt, chunk.of_reply
    width, longest, here = of_prompt.shape[-1], of_reply.shape[-1], slice(chunk.first, chunk.last)
    keys, values = (x[here, :, :width].flatten(0, 1) for x in layer.prompts)
    own_keys, own_values = (x[here, :, :, :longest].flatten(0, 2) for x in layer.replies)
    together, apart = (seats * groups, n * queries), (seats * groups * n, queries)
    scores = torch.cat(
        (
            torch.bmm(q.reshape(*together, -1), keys.transpose(1, 2)).view(*q.shape[:-1], width) + of_prompt,
            torch.bmm(q.reshape(*apart, -1), own_keys.transpose(1, 2)).view(*q.shape[:-1], longest)
            + of_reply,
        ),
        -1,
    )
    weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
    out = torch.bmm(weights[..., :width].reshape(*together, width), values).view(*q.shape[:-1], -1)
    out += torch.bmm(weights[..., width:].reshape(*apart, longest), own_values).view(*q.shape[:-1], -1)
    return out


def attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention interface of transformers: query [1, H, A, D], key and value [1, G, A, D] -> [1, A, H, D].

    Raises:
        NotImplementedError: for what this attention does not do; ``ways.py`` meets it first and chooses another way.
    """
    seats: Seats | None = getattr(attention_mask, "halign_seats", None)
    limits = ("softcap", "s_aux", "position_bias", "sliding_window")
    unsupported = [name for name in limits if kwargs.get(name) is not None]
    if seats is None or unsupported or dropout:
        raise NotImplementedError(f"shared decoding without {', '.join(unsupported) or 'its mask'}")
    if seats.reading is not None:
        seats.keep_prompts(module, key, value)
        return trie_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return seats.attend(module, query, key, value, scale), None


@contextmanager
def attending(model: Any) -> Iterator[None]:
    """While it lasts, the model attends through its seats."""
    inner = unwrap(model)
    before = inner.config._attn_implementation
    use_attention(inner, NAME)
    try:
        yield
    finally:
        use_attention(inner, before)


ALL_ATTENTION_FUNCTIONS.register(NAME, attention_forward)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
