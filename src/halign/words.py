"""Word by word: segments of text -> token ids, where the pre-tokenizer provably cuts between words.

The pre-tokenizers of GPT-2, Llama 3 and Qwen always cut

- before a space that a non-space follows,
- before a space that follows a non-space,
- between an ASCII letter and an ASCII non-letter that follows it.

So the pieces between such places are encoded independently. Few of them are new, and a look-up costs a
twentieth of encoding.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

WORD_PATTERNS = (
    # A match holds a space only as its first character or in a run of white space that no word follows,
    # and letters only at its end.
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

SPACES = re.compile(r" (?=[^\s\u180e])")
"""The first kind of place, the space itself left out: what is quick to find. (\\s holds all of Unicode's
White_Space, and U+180E was one once.)"""

AMONG_SPACES = re.compile(r" (?<=[\s\u180e] )(?![^\s\u180e])")
"""A space that is no place of the first two kinds. In a text without any, every space is one."""

PIECES = re.compile(
    r" ?[A-Za-z]+(?![A-Za-z\u0080-\U0010ffff])"  # the common case, then all others
    r"|[\s\u180e]*(?:[^\s\u180eA-Za-z]+(?:(?! )[\s\u180e]+)?|[A-Za-z]+(?=[^\x00-\x7f]))*[A-Za-z]*"
)
"""What lies between places of the other two kinds: fewer distinct ones, to meet the tokenizer once each."""

LEADING = re.compile(r"[A-Za-z]+(?=[\x00-@\[-`{-\x7f])")
"""Letters up to a place of the third kind."""

ONE_WORD = re.compile(r" ?[A-Za-z]+")

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


def joined(memo: Memo[K, bytes], keys: Iterable[K]) -> bytearray:
    """The values of many keys, one after the other."""
    return bytearray().join(map(memo.__getitem__, keys))


class Words:
    """Encodes text that contains no added token, remembering every word it has seen.

    Args:
        model: the tokenizers library's model, which encodes one pre-token.
        fresh: encodes any text the ordinary way.
    """

    def __init__(self, model: Any, fresh: Callable[[str], bytes]) -> None:
        self._model, self._fresh = model, fresh
        self.pieces = Memo[str, bytes](self._piece, 400_000)
        self._spaced = Memo[str, bytes](self._spaced_word, 400_000)

    def encode(self, text: str) -> bytes:
        """Ids of the text, int32."""
        first, *rest = SPACES.split(text) if AMONG_SPACES.search(text) else text.split(" ")
        return bytes(joined(self.pieces, PIECES.findall(first)) + joined(self._spaced, rest))

    def _spaced_word(self, word: str) -> bytes:
        if word.isascii() and word.isalpha():  # the common case, which needs no looking for pieces
            return self._word("Ġ" + word)
        letters = LEADING.match(word)
        if letters is None:
            return bytes(joined(self.pieces, PIECES.findall(" " + word)))
        rest = word[letters.end() :]  # mostly a full stop or a comma after a word that is known by itself
        return self._spaced[letters[0]] + (
            self.pieces[rest] if len(rest) == 1 else joined(self.pieces, PIECES.findall(rest))
        )

    def _piece(self, piece: str) -> bytes:
        if ONE_WORD.fullmatch(piece):
            return self._word(piece.replace(" ", "Ġ"))
        return self._fresh(piece) if piece else b""

    def _word(self, letters: str) -> bytes:
        """Ids of one pre-token, which the model reads in byte-level letters."""
        return ids_to_bytes([t.id for t in self._model.tokenize(letters)])


def ids_to_bytes(ids: Iterable[int]) -> bytes:
    """Token ids as int32, to be joined."""
    return array("i", ids).tobytes()


def cuts_words(backend: Any) -> bool:
    """Whether the pre-tokenizer always cuts where ``WORDS`` does, whatever surrounds the place."""
    if getattr(backend.model, "dropout", None):
        return False
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
