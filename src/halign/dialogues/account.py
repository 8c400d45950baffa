"""What the endpoints behind a job of dialogues were asked and what that cost, over all calls of the job.

FOLDER/spent.json: side ("user", "model NAME", "judge") -> ``halign.llm.Spent``. It is written after every turn of the dialogues
and every chunk of verdicts, and where a job stops; only what a process spent since that was killed outright is not known there
(its replies are in the cache all the same).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from halign.judges.folder import write_whole
from halign.llm import Budget, Client, Spent

SPENT = "spent.json"


def clients(models: Mapping[str, Any], user: Any, judge: Any) -> dict[str, Client]:
    """Side -> its client, of the sides that are behind an endpoint."""
    sides = {"user": sampler_of(user), **{f"model {n}": s for n, s in models.items()}, "judge": judge}
    found = {side: getattr(of, "client", None) for side, of in sides.items()}
    return {side: client for side, client in found.items() if client is not None}


def sampler_of(user: Any) -> Any:
    """The model that speaks as a user, or as the user that it adds to; None where none does."""
    own = getattr(user, "sampler", None)
    base = getattr(user, "base", None)
    return sampler_of(base) if own is None and base is not None else own


class Account:
    """Adds up what this call and those before it have spent.

    Args:
        folder: of the job; ``spent.json`` is read from it and written to it.
        asked: side -> its client.
        budget: what the clients share; what calls before have spent of it is gone.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Client], budget: Budget | None = None) -> None:
        self._file, self._clients = folder / SPENT, asked
        self._start = {side: client.spent.counts for side, client in asked.items()}
        said = json.loads(self._file.read_text()) if self._file.exists() else {}
        self._before = {side: Spent(**counts) for side, counts in said.items()}
        if budget is not None:
            budget.gone += sum(one.bound for one in self._before.values())

    @property
    def spent(self) -> dict[str, Spent]:
        """Side -> what it has spent so far."""
        now = {side: c.spent.counts - self._start[side] for side, c in self._clients.items()}
        return {side: self._before.get(side, Spent()) + counts for side, counts in now.items()}

    @property
    def total(self) -> Spent:
        """Of all sides."""
        return reduce(add, self.spent.values(), Spent())

    def save(self) -> None:
        """Write it down, if there is an endpoint."""
        if self._clients:
            told = {side: asdict(counts) for side, counts in self.spent.items()}
            write_whole(self._file, json.dumps(told, indent=1))
