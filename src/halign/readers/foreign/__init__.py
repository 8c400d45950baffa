"""Formats of other people, one publisher per file: ``FOREIGN`` is the table. A new one is a file and a line here, and a test."""

from __future__ import annotations

from halign.readers.foreign import (
    alpaca,
    argilla,
    dolly,
    forums,
    helpsteer,
    hh,
    label_studio,
    openai,
    sharegpt,
    tldr,
    ultrachat,
    ultrafeedback,
)
from halign.readers.foreign.contract import Foreign

HOMES = (
    *(sharegpt, alpaca, dolly, openai, ultrachat, ultrafeedback, helpsteer),
    *(tldr, hh, forums, argilla, label_studio),
)

FOREIGN: dict[str, Foreign] = {f.name: f for home in HOMES for f in home.FORMATS}
