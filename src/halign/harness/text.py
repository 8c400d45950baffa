"""Text -> token ids by the conventions of lm-evaluation-harness, so that numbers can be set beside published ones.

What is asked is a *context* and a *continuation*. They are encoded together and cut where the context ends, white space at the
context's end going to the continuation; after an empty context stands the prefix token (BOS, else EOS); what is too long for the
model loses its beginning. These are the rules of its ``TemplateLM`` and ``HFLM`` (lm_eval 0.4); the tests compare with both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from halign.adapters.virtual import virtual_tokens
from halign.encoding import Encoder
from halign.errors import HalignError
from halign.items import Ids, Path
from halign.scoring import unwrap
from halign.words import Memo

POSITIONS = ("n_positions", "max_position_embeddings", "n_ctx")
"""What configurations call the number of positions a model was made for."""
LENGTH = 2048
"""Tokens where nothing says how many."""
NO_LIMIT = 10**9
"""Tokenizers without a length of their own write a number beyond this."""
CONTEXTS = 64
"""Contexts whose ids are remembered: the choices of a question stand together."""


class TextEncoder:
    """Encodes contexts and continuations for one model.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_length: tokens that the model reads at once.
        special_tokens: whether the tokenizer adds its special tokens to a text (lm_eval's ``add_bos_token``); None: as it does
            by itself, unless the text begins with the prefix token already.
        prefix_id: the token before texts without a context; None: BOS, else EOS.

    Raises:
        HalignError: if the tokenizer has neither BOS nor EOS, and no prefix is given.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_length: int,
        *,
        special_tokens: bool | None = None,
        prefix_id: int | None = None,
    ) -> None:
        self.tokenizer, self.max_length, self.special_tokens = tokenizer, max_length, special_tokens
        known = (prefix_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        found = next((i for i in known if i is not None), None)
        if found is None:
            raise HalignError(
                "the tokenizer has neither a BOS nor an EOS token, so nothing stands before a text without context; "
                "say which token does (prefix_id)"
            )
        self.prefix_id: int = found
        self._prefix_text = tokenizer.decode([found])
        self._encoder = Encoder(tokenizer)
        self._around = _added_around(tokenizer)
        self._context = Memo[str, Ids](self.encode, CONTEXTS)

    def encode(self, text: str, special_tokens: bool | None = None) -> Ids:
        """Ids of a text that begins a sequence, int32 [n].

        Args:
            special_tokens: overrides the encoder's own rule.
        """
        adds = self.special_tokens if special_tokens is None else special_tokens
        if special_tokens is None and text.startswith(self._prefix_text):
            adds = False
        if adds is False:
            return self._encoder.encode(text)
        if self._around is None:
            return np.asarray(self.tokenizer.encode(text, add_special_tokens=True), dtype=np.int32)
        before, after = self._around
        return np.concatenate([before, self._encoder.encode(text), after])

    def path(self, context: str, continuation: str) -> Path:
        """What the model reads, and what is asked for.

        Raises:
            HalignError: if the continuation has no token of its own, or more than the model can read.
        """
        if context:
            path = self._pair(context, continuation)
        else:
            ids = self.encode(continuation, special_tokens=False)
            begins = bool(len(ids)) and int(ids[0]) == self.prefix_id
            prefix = np.array([self.prefix_id], dtype=np.int32)
            path = Path(ids[:1], ids[1:]) if begins else Path(prefix, ids)
        return self.fitted(path, continuation)

    def fitted(self, path: Path, text: str = "") -> Path:
        """The path without the tokens at its beginning for which the model has no room. The last token is not read.

        Raises:
            HalignError: as ``path``.
        """
        if not len(path.prompt) or not len(path.response):
            raise HalignError(
                f"the continuation {text!r} gives no token of its own after its context: there is nothing to score"
            )
        if len(path.response) > self.max_length:
            raise HalignError(
                f"a continuation of {len(path.response)} tokens ({text[:40]!r} ...) is longer than the model reads at once "
                f"({self.max_length}); ask for its rolling log-likelihood (halign.harness.perplexity)"
            )
        surplus = len(path) - (self.max_length + 1)
        return path if surplus <= 0 else Path(path.prompt[surplus:], path.response)

    def windows(self, text: str) -> Iterator[Path]:
        """A text of any length in windows of which each is as long as the model reads at once. Every token is asked for once; the
        last window looks back as far as it can."""
        ids, room = self.encode(text), self.max_length
        whole = np.concatenate([np.array([self.prefix_id], dtype=np.int32), ids])
        for done in range(0, len(ids), room):
            end = min(done + room, len(ids))
            # token i of the text is at i + 1 of the whole, and predicted from at most ``room`` tokens before
            yield Path(whole[max(0, end - room) : done + 1], whole[done + 1 : end + 1])

    def _pair(self, context: str, continuation: str) -> Path:
        bare = context.rstrip()
        continuation = context[len(bare) :] + continuation
        before, whole = self._context[bare], self.encode(bare + continuation)
        if not len(before):  # nothing but white space
            return Path(np.array([self.prefix_id], dtype=np.int32), whole)
        return Path(before, whole[len(before) :])


def reading_length(model: Any, tokenizer: Any) -> int:
    """Tokens that a model reads at once: by its configuration, else by its tokenizer, else 2048; less its virtual tokens."""
    config = unwrap(model).config
    text = getattr(config, "text_config", None) or config
    said = [getattr(text, name, None) for name in POSITIONS]
    own = getattr(tokenizer, "model_max_length", None)
    said.append(own if own is not None and own < NO_LIMIT else None)
    return int(next((n for n in said if n is not None), LENGTH)) - virtual_tokens(model)


def _added_around(tokenizer: Any) -> tuple[Ids, Ids] | None:
    """Special tokens that the tokenizer puts before and after every text; None if that cannot be told from an example."""
    plain, whole = (tokenizer.encode("a", add_special_tokens=adds) for adds in (False, True))
    places = [i for i in range(len(whole) - len(plain) + 1) if whole[i : i + len(plain)] == plain]
    if len(places) != 1 or not plain:
        return None
    at = places[0]
    return np.asarray(whole[:at], dtype=np.int32), np.asarray(whole[at + len(plain) :], dtype=np.int32)
