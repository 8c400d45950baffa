"""Characters that are not what they should be: wrong encodings, halves of characters, mojibake.

Nothing is ever replaced: what is found is said, with the way out.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Any

from halign.errors import HalignError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte-order marks of encodings in which a line cannot be read by itself, the longer ones first."""

ESCAPES = re.compile(rb"\\u[dD][89a-fA-F]")
"""JSON escapes of surrogates, which are right in pairs."""
NOT_ASCII = re.compile(r"[^\x00-\x7f]{2,}")
WORDS = re.compile(rb"[A-Za-z]")
RUN = re.compile(rb"[\x80-\xff]{4}")
"""More high bytes in a row than Western words have."""
SHARE = 0.5
"""High bytes per letter and high byte up to which a text may be Western: more of them, and it is another script."""


def known(encoding: str | None) -> str | None:
    """The encoding, if Python knows it.

    Raises:
        HalignError: if not.
    """
    try:
        return None if encoding is None else codecs.lookup(encoding).name
    except LookupError:
        raise HalignError(
            f"encoding={encoding!r} (--encoding): no such encoding; utf-8, utf-16, cp1252, latin-1, shift_jis, gb18030 ..."
        ) from None


def marked(head: bytes) -> str | None:
    """The encoding that a file's first bytes name, unless it is UTF-8.

    >>> marked("Hi".encode("utf-16")), marked(b"Hi")
    ('utf-16', None)
    """
    return next((name for mark, name in MARKS if head.startswith(mark)), None)


def not_utf8(text: bytes, at: int) -> str:
    """What is wrong with bytes that are no UTF-8 from ``at`` on, what they look like, and the way out.

    >>> not_utf8("Größe".encode("cp1252"), 2)
    'not UTF-8 at byte 2; looks like cp1252: --encoding cp1252 (encoding= in Python)'
    """
    said = f"not UTF-8 at byte {at}"
    name = looks_like(text)
    if name is None:
        return (
            f"{said}; say the encoding with --encoding NAME (encoding= in Python), or save the file as UTF-8"
        )
    return f"{said}; looks like {name}: --encoding {name} (encoding= in Python)"


def looks_like(text: bytes) -> str | None:
    """``cp1252`` or ``latin-1`` for bytes that read as Western words, else None: other encodings cannot be told apart."""
    high = sum(b > 127 for b in text)
    if RUN.search(text) or high > SHARE * (len(WORDS.findall(text)) + high):
        return None
    if any(part.decode("utf-8", "ignore") for part in re.findall(rb"[\xc3-\xf4][\x80-\xbf]+", text)):
        return None  # partly UTF-8: two encodings in one text
    try:
        text.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def problem(value: Any, field: str = "") -> str | None:
    """The first half of a surrogate pair in a JSON value, in words; None if there is none. A NUL is odd (``halign data check``
    says so) but can be read: models that are sampled say it.

    >>> problem({"a": ["x", "b\\ud83d"]})[:37]
    'a[1]: character 1 is a lone surrogate'
    """
    if isinstance(value, str):
        return _in_text(value, field)
    if isinstance(value, Mapping):
        items = [(f"{field}.{k}" if field else str(k), v) for k, v in value.items()]
        items += [(f"a key of {field or 'the row'}", k) for k in value]
    elif isinstance(value, list | tuple):
        items = [(f"{field}[{i}]", v) for i, v in enumerate(value)]
    else:
        return None
    return next((said for name, v in items if (said := problem(v, name))), None)


def sound(text: str) -> bool:
    """True if a text has no half of a surrogate pair: the quick form of ``problem``."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _in_text(text: str, field: str) -> str | None:
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as e:
        half = f"\\u{ord(text[e.start]):04x}"
        return (
            f"{field}{': ' * bool(field)}character {e.start} is a lone surrogate ({half}), half of a character that was"
            " cut in two; mend or remove it"
        )
    return None


def mojibake(text: str) -> tuple[str, str] | None:
    """(what stands there, what was meant) where UTF-8 was once read as cp1252; None where nothing looks like it.

    >>> mojibake("a cafÃ© â€œherâ€\\x9d"), mojibake("a café “her”")
    (('Ã©', 'é'), None)
    """
    if text.isascii():
        return None
    for run in NOT_ASCII.findall(text):
        try:
            meant = b"".join(map(_byte, run)).decode("utf-8")
        except UnicodeError:
            continue
        return run, meant
    return None


def _byte(character: str) -> bytes:
    """The byte that cp1252 reads as this character; the five that it leaves out stand for themselves."""
    return bytes([ord(character)]) if "\x80" <= character <= "\x9f" else character.encode("cp1252")
