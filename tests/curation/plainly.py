"""Shingles as sets of tuples of words: no hash, no array; and texts with some words changed."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from halign.curation.minhash import normal


def plain(text: str) -> set[tuple[str, ...]]:
    """A text's shingles as tuples of words."""
    words = normal(text)
    n = min(3, len(words))
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)} if words else set()


def changed(text: str, share: float, rng: random.Random) -> str:
    """Some words are others, which occur nowhere else."""
    return " ".join(f"x{rng.random()}" if rng.random() < share else w for w in text.split())


def talk(text: str, name: str, reply: str = "Of course, I will see to it.", **more: Any) -> dict[str, Any]:
    """A conversation of two turns as a row."""
    said = [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
    return {"id": name, "messages": said, **more}


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
