"""Preflight, the model's part: what can only be seen by running the first pack through it."""
from __future__ import annotations
from typing import Any
def preflight(trainer: Any) -> None:
    """Placeholder until the text part lands."""
