"""What was judged, counted: prompts, replies, their lengths; kept up as they come."""

from __future__ import annotations

from collections import Counter

from halign.evaluate import Interval
from halign.evaluate.intervals import mean_of
from halign.evaluate.running import Running
from halign.reporting.pool import Came, Pool

FEW_VALUES = 12
"""A note of the items with more values than these is not shown."""


class Prompts:
    """The items and replies of a pool.

    Attributes:
        values: key of the items' ``meta`` -> value -> how many items have it, where there are few values.
    """

    def __init__(self) -> None:
        self.replies = 0
        self.values: dict[str, Counter[str]] = {}
        self._conversations: set[str] = set()
        self._guardrails: set[str] = set()
        self._words: dict[str, Running] = {}

    def add(self, pool: Pool, came: Came) -> None:
        """Replies that joined an item, and the item, if it is new."""
        item = pool.items[came.item]
        for model in came.models:
            words = len(item.replies[model].split())
            self._words.setdefault(model, Running()).add(words, item.conversation)
        self.replies += len(came.models)
        if not came.first:
            return
        self._conversations.add(item.conversation)
        self._guardrails.update(item.guardrails)
        for key, value in item.meta.items():
            if isinstance(value, str | bool | int):
                counts = self.values.setdefault(key, Counter())
                if len(counts) <= FEW_VALUES:  # one more shows that there are too many
                    counts[str(value)] += 1

    @property
    def lengths(self) -> dict[str, Interval]:
        """Model -> mean length of its replies in words, where two conversations or more have one."""
        found = {model: r.moments for model, r in self._words.items()}
        return {model: mean_of(m) for model, m in found.items() if m.groups > 1}

    def card(self, pool: Pool) -> list[tuple[str, str]]:
        """(what, how much)."""
        return [
            ("prompts", f"{len(pool.items):,}"),
            ("conversations", f"{len(self._conversations):,}"),
            ("models", ", ".join(pool.models)),
            ("replies", f"{self.replies:,}"),
            ("verdicts", f"{len(pool.seen):,}"),
            ("guardrails in force", f"{len(self._guardrails):,}"),
            *(
                (f"words per reply, {m}", f"{i.value:.1f} [{i.low:.1f}, {i.high:.1f}]")
                for m, i in self.lengths.items()
            ),
            *(
                (key, ", ".join(f"{v} {n:,}" for v, n in counts.most_common()))
                for key, counts in self.values.items()
                if len(counts) <= FEW_VALUES
            ),
        ]
