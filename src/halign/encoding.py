"""Text -> token ids, exactly as the tokenizer gives them, but each distinct piece is encoded only once.

Two facts make that possible:

- A fast tokenizer cuts a text at its added tokens (``<|im_end|>`` ...) before anything else, so the ids of a
  segment between two of them depend on that segment and those two alone. A conversation's turns are such
  segments: a trunk that twenty responses share is encoded once, however many renderings contain it.
- The usual pre-tokenizers cut between words, so that the words of a segment are encoded independently
  (:mod:`halign.words`).

Both are checked, not trusted: the first texts and every thousandth after are also encoded whole. A difference
switches to whole encoding for good. Tokenizers for which a fact cannot be shown to hold do without it.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from halign.items import Ids
from halign.words import Memo, Words, cuts_words, ids_to_bytes, joined

CHECKED_FIRST = 12
CHECKED_EVERY = 1009

ID_BYTES = 4


class Encoder:
    """Encodes rendered text, adding no special tokens of its own (chat templates write theirs).

    Attributes:
        segmented: True while segments are encoded apart; False if the tokenizer does not allow it.
        wordwise: True if segments are encoded word by word.
        specials: matches the text of any special token; None if there is none.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts = 0
        added = list(getattr(tokenizer, "added_tokens_decoder", {}).values())
        self.specials = _literals([t.content for t in added if t.special])
        splitting = [t.content for t in added if not t.normalized]
        self._bare: dict[str | None, bytes] = {
            t: ids_to_bytes([tokenizer.convert_tokens_to_ids(t)]) for t in splitting
        }
        self._bare[None] = b""
        self._split = _literals(splitting, group=True)
        self.segmented = (
            bool(getattr(tokenizer, "is_fast", False))
            and not getattr(tokenizer, "split_special_tokens", False)
            and not any(t.single_word for t in added)
        )
        plain = not any(t.normalized or t.lstrip or t.rstrip for t in added)
        self.wordwise = self.segmented and plain and cuts_words(tokenizer.backend_tokenizer)
        # keys: (added token before, text, added token after), where the latter only lends its context
        self._segments = Memo[tuple[str | None, str, str | None], bytes](self._segment, 400_000)
        self._words = Words(tokenizer.backend_tokenizer.model, self._fresh) if self.wordwise else None
        self._anchors = ("\n", ":", "a") if self._adds_prefix() else ()

    def encode(self, text: str) -> Ids:
        """Ids of a text that begins a sequence, int32 [n]: ``tokenizer(text, add_special_tokens=False)``."""
        if not self.segmented:
            return self._whole(text)
        ids = self._by_segments(text)
        self._texts += 1
        if self._texts <= CHECKED_FIRST or self._texts % CHECKED_EVERY == 0:
            whole = self._whole(text)
            if not np.array_equal(ids, whole):
                self.segmented = self.wordwise = False
                return whole
        return ids

    def encode_continuation(self, text: str) -> Ids:
        """Ids of a text that goes on after other text, int32 [n].

        The same as :meth:`encode`, except for tokenizers that put a space before every text they are given
        (SentencePiece's dummy prefix), which must not appear in the middle of a sequence.
        """
        for anchor in self._anchors:
            head, both = self._whole(anchor), self._whole(anchor + text)
            if np.array_equal(both[: len(head)], head):
                return both[len(head) :]
        return self.encode(text)

    def control_in(self, text: str) -> bool:
        """Whether a text spells, as mere characters, what the tokenizer reads as a special token."""
        return self.specials is not None and self.specials.search(text) is not None

    def _by_segments(self, text: str) -> Ids:
        # split() with a group alternates text and token: [text, token, text, ..., token, text]
        parts = self._split.split(text) if self._split else [text]
        tokens = parts[1::2]
        keys = zip([None, *tokens], parts[::2], [*tokens, None], strict=True)
        return np.frombuffer(joined(self._segments, keys), dtype=np.int32)

    def _segment(self, key: tuple[str | None, str, str | None]) -> bytes:
        """Ids of the left token and the text after it."""
        left, text, right = key
        if not text:
            return self._bare[left]
        if self._words is not None:
            return self._bare[left] + self._words.encode(text)
        ids = self._fresh((left or "") + text + (right or ""))
        return ids if right is None else ids[:-ID_BYTES]

    def _fresh(self, text: str) -> bytes:
        backend = self._tokenizer.backend_tokenizer
        if backend.truncation is not None:  # left over from someone else's call
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        if backend.encode_special_tokens:
            backend.encode_special_tokens = False
        return ids_to_bytes(backend.encode_batch_fast([text], add_special_tokens=False)[0].ids)

    def _whole(self, text: str) -> Ids:
        return np.asarray(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)

    def _adds_prefix(self) -> bool:
        tokens = self._tokenizer.convert_ids_to_tokens(self._whole("a").tolist())
        return bool(tokens) and tokens[0][:1] in ("▁", "Ġ")


def _literals(texts: list[str], group: bool = False) -> re.Pattern[str] | None:
    """Matches any of the texts; longest first, as the tokenizer takes the leftmost, then the longest."""
    body = "|".join(re.escape(t) for t in sorted(texts, key=len, reverse=True) if t)
    return re.compile(f"({body})" if group else body) if body else None
