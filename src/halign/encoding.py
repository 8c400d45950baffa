"""Text -> token ids, exactly as the tokenizer gives them, but each distinct segment is encoded only once.

A fast tokenizer cuts a text at its added tokens (``<|im_end|>`` ...) before anything else, so the ids of the text
between two of them depend on that text and on those two alone. A conversation's turns are such segments: the trunk
that twenty responses share is encoded once, whatever the number of renderings it occurs in.

The claim is checked, not trusted: the first texts and every hundredth after are also encoded whole. A difference
switches to whole encoding for good. Tokenizers whose added tokens match by context start there.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from halign.items import Ids

CHECKED_FIRST = 16
CHECKED_EVERY = 101
CACHE_LIMIT = 400_000
"""Segments kept; a full cache is emptied, which costs time and never exactness."""


class Encoder:
    """Encodes rendered text, adding no special tokens of its own (chat templates write theirs).

    Attributes:
        segmented: True while segments are encoded apart; False if the tokenizer does not allow it.
        controls: matches the text of any added token, or None if there is none.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._cache: dict[tuple[str | None, str, str | None], Ids] = {}
        self._texts = 0
        added = _added_tokens(tokenizer)
        self.controls = _literals([t.content for t in added])
        splitting = [t for t in added if not t.normalized]
        self._ids = {t.content: tokenizer.convert_tokens_to_ids(t.content) for t in splitting}
        self._split = _literals(list(self._ids), group=True)
        self.segmented = (
            getattr(tokenizer, "is_fast", False)
            and not getattr(tokenizer, "split_special_tokens", False)
            and not any(t.single_word for t in added)
        )
        self._anchors = ("\n", ":", "a") if self._adds_prefix() else ()

    def encode(self, text: str) -> Ids:
        """Ids of a text that begins a sequence, int32 [n]; equal to ``tokenizer(text, add_special_tokens=False)``."""
        if not self.segmented:
            return self._whole(text)
        self._texts += 1
        ids = self._by_segments(text)
        if self._texts <= CHECKED_FIRST or self._texts % CHECKED_EVERY == 0:
            whole = self._whole(text)
            if not np.array_equal(ids, whole):
                self.segmented = False
                self._cache.clear()
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
        """Whether a text contains, as mere characters, what the tokenizer reads as an added special token."""
        return self.controls is not None and self.controls.search(text) is not None

    def _whole(self, text: str) -> Ids:
        return np.asarray(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)

    def _by_segments(self, text: str) -> Ids:
        # split() with a group alternates text and token: [text, token, text, ..., token, text]
        parts = self._split.split(text) if self._split else [text]
        cache, found = self._cache, []
        left: str | None = None
        for i in range(0, len(parts), 2):
            right = parts[i + 1] if i + 1 < len(parts) else None
            key = (left, parts[i], right)
            ids = cache.get(key)
            if ids is None:
                ids = self._segment(*key)
            found.append(ids)
            left = right
        return found[0] if len(found) == 1 else np.concatenate(found)

    def _segment(self, left: str | None, text: str, right: str | None) -> Ids:
        """Ids of ``left`` and the text after it; ``right`` only lends its context."""
        ids = self._fresh((left or "") + text + (right or "")) if text else self._bare(left)
        if text and right is not None:
            ids = ids[:-1]
        if len(self._cache) >= CACHE_LIMIT:
            self._cache.clear()
        self._cache[left, text, right] = ids
        return ids

    def _bare(self, token: str | None) -> Ids:
        return np.array([] if token is None else [self._ids[token]], dtype=np.int32)

    def _fresh(self, text: str) -> Ids:
        backend = self._tokenizer.backend_tokenizer
        if backend.truncation is not None:  # left over from someone else's call
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        if backend.encode_special_tokens:
            backend.encode_special_tokens = False
        return np.array(backend.encode_batch_fast([text], add_special_tokens=False)[0].ids, dtype=np.int32)

    def _adds_prefix(self) -> bool:
        tokens = self._tokenizer.convert_ids_to_tokens(self._whole("a").tolist())
        return bool(tokens) and tokens[0][:1] in ("▁", "Ġ")


def _added_tokens(tokenizer: Any) -> list[Any]:
    return list(getattr(tokenizer, "added_tokens_decoder", {}).values())


def _literals(texts: list[str], group: bool = False) -> re.Pattern[str] | None:
    # Longest first: the tokenizer takes the leftmost, then the longest.
    body = "|".join(re.escape(t) for t in sorted(texts, key=len, reverse=True) if t)
    return re.compile(f"({body})" if group else body) if body else None
