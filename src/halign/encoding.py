"""Text -> token ids, exactly as the tokenizer gives them, but each distinct piece is encoded only once.

Two facts make that possible:

- A fast tokenizer cuts a text at its added tokens (``<|im_end|>`` ...) before anything else, so the ids of a
  segment between two of them depend on that segment and those two alone. A conversation's turns are such
  segments: a trunk that twenty responses share is encoded once, however many renderings contain it.
- The usual pre-tokenizers (those of GPT-2, Llama 3, Qwen) always cut before a space that follows a non-space,
  and after a letter that no letter follows. Cut there, the pieces of a segment are encoded independently; few
  of them are new, and a look-up costs a twentieth of encoding.

Both are checked, not trusted: the first texts and every 251st after are also encoded whole. A difference
switches to whole encoding for good. Tokenizers for which a fact cannot be shown to hold do without it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import numpy as np

from halign.items import Ids

CHECKED_FIRST = 16
CHECKED_EVERY = 251

WORD_PATTERNS = (
    # Every match holds a space (U+0020) only before its first non-space, and letters only at its end:
    # GPT-2
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    # Llama 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # Qwen 2 and 3
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)

_WORDS = re.compile(
    r" ?[A-Za-z]+(?![A-Za-z\u0080-\U0010ffff])"  # the common case, then all others
    r"|[\s\u180e]*(?:[^\s\u180eA-Za-z]+(?:(?! )[\s\u180e]+)?|[A-Za-z]+(?=[^\x00-\x7f]))*[A-Za-z]*"
)
"""Pieces of a text, cut only where such a pattern cuts. Letters are ASCII's, on which all of Unicode's
versions agree; \\s holds all of Unicode's White_Space, and U+180E was one once."""

_ONE_WORD = re.compile(r" ?[A-Za-z]+")

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V], Generic[K, V]):
    """A bounded memory of a function's values. Full, it is emptied, which costs time and never exactness.

    >>> squares = Memo(lambda n: n * n, limit=100)
    >>> squares[7], len(squares)
    (49, 1)
    """

    def __init__(self, function: Callable[[K], V], limit: int) -> None:
        super().__init__()
        self.function, self.limit = function, limit

    def __missing__(self, key: K) -> V:
        if len(self) >= self.limit:
            self.clear()
        value = self[key] = self.function(key)
        return value


def _joined(memo: Memo[K, bytes], keys: Iterable[K]) -> bytearray:
    return bytearray().join(map(memo.__getitem__, keys))


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
        self._ids = {t: tokenizer.convert_tokens_to_ids(t) for t in splitting}
        self._split = _literals(splitting, group=True)
        self.segmented = (
            bool(getattr(tokenizer, "is_fast", False))
            and not getattr(tokenizer, "split_special_tokens", False)
            and not any(t.single_word for t in added)
        )
        plain = not any(t.normalized or t.lstrip or t.rstrip for t in added)
        self.wordwise = self.segmented and plain and _cuts_words(tokenizer.backend_tokenizer)
        # keys: (added token before, text, added token after), where the latter only lends its context
        self._segments = Memo[tuple[str | None, str, str | None], bytes](self._segment, 400_000)
        self._words = Memo[str, bytes](self._word, 400_000)
        self._model = tokenizer.backend_tokenizer.model if self.wordwise else None
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
        return np.frombuffer(_joined(self._segments, keys), dtype=np.int32)

    def _segment(self, key: tuple[str | None, str, str | None]) -> bytes:
        """Ids of the left token and the text after it."""
        left, text, right = key
        if self.wordwise or not text:
            words = _joined(self._words, _WORDS.findall(text)) if text else b""
            return (b"" if left is None else np.int32(self._ids[left]).tobytes()) + bytes(words)
        ids = self._fresh((left or "") + text + (right or ""))
        return ids if right is None else ids[:-4]

    def _word(self, text: str) -> bytes:
        if _ONE_WORD.fullmatch(text):  # one pre-token, written in byte-level letters
            assert self._model is not None
            ids = [t.id for t in self._model.tokenize(text.replace(" ", "Ġ"))]
            return np.array(ids, dtype=np.int32).tobytes()
        return self._fresh(text) if text else b""

    def _fresh(self, text: str) -> bytes:
        backend = self._tokenizer.backend_tokenizer
        if backend.truncation is not None:  # left over from someone else's call
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        if backend.encode_special_tokens:
            backend.encode_special_tokens = False
        encoding = backend.encode_batch_fast([text], add_special_tokens=False)[0]
        return np.array(encoding.ids, dtype=np.int32).tobytes()

    def _whole(self, text: str) -> Ids:
        return np.asarray(self._tokenizer(text, add_special_tokens=False)["input_ids"], dtype=np.int32)

    def _adds_prefix(self) -> bool:
        tokens = self._tokenizer.convert_ids_to_tokens(self._whole("a").tolist())
        return bool(tokens) and tokens[0][:1] in ("▁", "Ġ")


def _literals(texts: list[str], group: bool = False) -> re.Pattern[str] | None:
    """Matches any of the texts; longest first, as the tokenizer takes the leftmost, then the longest."""
    body = "|".join(re.escape(t) for t in sorted(texts, key=len, reverse=True) if t)
    return re.compile(f"({body})" if group else body) if body else None


def _cuts_words(backend: Any) -> bool:
    """Whether the pre-tokenizer always cuts where ``_WORDS`` does, whatever surrounds the place."""
    if backend.normalizer is not None and _state(backend.normalizer) != {"type": "NFC"}:
        return False  # NFC composes nothing with ASCII that follows it
    match _state(backend.pre_tokenizer):
        case {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}:
            return True
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False},
            ],
        }:
            return pattern in WORD_PATTERNS
    return False


def _state(part: Any) -> Any:
    """What the tokenizers library would write to a file for one of its parts."""
    try:
        return json.loads(part.__getstate__())
    except (AttributeError, TypeError, ValueError):
        return None
