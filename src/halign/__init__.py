"""Halign: align language models, encoding every distinct token once.

>>> import halign as hl
>>> hl.read([{"prompt": "2+2=", "chosen": "4", "rejected": "5"}])
<Data: 1 pairs from list>
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from halign.cores import spin_briefly

if TYPE_CHECKING:
    from halign import judges
    from halign.adapters.merging import merge
    from halign.errors import DataError, HalignError
    from halign.evaluate import compare
    from halign.likelihood import logps
    from halign.models import Policy, load
    from halign.readers import read
    from halign.reporting import report
    from halign.rewards.loading import load_reward
    from halign.rewards.model import RewardModel
    from halign.training import Run, train

__version__ = "0.1.0"

spin_briefly()

# loaded on first use, so that `halign --help` does not wait for torch
_HOME = {
    "DataError": "halign.errors",
    "HalignError": "halign.errors",
    "Policy": "halign.models",
    "RewardModel": "halign.rewards.model",
    "Run": "halign.training",
    "compare": "halign.evaluate",
    "load": "halign.models",
    "load_reward": "halign.rewards.loading",
    "logps": "halign.likelihood",
    "merge": "halign.adapters.merging",
    "read": "halign.readers",
    "report": "halign.reporting",
    "train": "halign.training",
}

__all__ = [
    "DataError",
    "HalignError",
    "Policy",
    "RewardModel",
    "Run",
    "compare",
    "judges",
    "load",
    "load_reward",
    "logps",
    "merge",
    "read",
    "report",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "judges":
        return importlib.import_module("halign.judges")
    if name not in _HOME:
        raise AttributeError(f"module 'halign' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
