"""The loop over seats: waiting prompts take the places of those whose replies are all done."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from halign.items import Ids
from halign.sampling.rows import Picks, Row
from halign.sampling.seats import Seats, attending
from halign.sampling.settings import Settings
from halign.scoring import unwrap

PROMPT_TOKENS = 4096
"""Tokens of prompts that are read in one pass, unless a single one is longer."""
_KEEP_ABOVE = 0.75  # seats are moved together once fewer than this share are taken, and nobody waits
_ADMIT = (
    0.25  # waiting prompts are read once there is room for this share of all seats: few make poor products
)


def decode_seated(
    model: Any,
    prompts: Sequence[Ids],
    rows: Sequence[Row],
    picks: Picks,
    settings: Settings,
) -> Iterator[int]:
    """See ``ways.Way``."""
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))  # memory runs out early or never
    at_once = min(len(order), settings.prompts_at_once(unwrap(model), len(prompts[order[0]])))
    with attending(model):
        if settings.refill:
            yield from _Loop(model, prompts, rows, picks, settings).run(order, at_once)
            return
        for start in range(0, len(order), at_once):
            yield from _Loop(model, prompts, rows, picks, settings).run(
                order[start : start + at_once], at_once
            )


class _Loop:
    def __init__(
        self,
        model: Any,
        prompts: Sequence[Ids],
        rows: Sequence[Row],
        picks: Picks,
        settings: Settings,
    ) -> None:
        self.model, self.prompts, self.rows, self.picks = model, prompts, rows, picks
        self.settings = settings
        self.running: list[tuple[int, int, Row]] = []  # (place, next token, row)

    def run(self, order: Sequence[int], at_once: int) -> Iterator[int]:
        """All replies to these prompts, the longest prompt first; yields at every step how many were done by it."""
        widest = len(self.prompts[order[0]])
        seats = Seats(self.model, at_once, self.settings.n, widest, self.settings.fast_prompts)
        waiting, free = deque(order), list(range(at_once))
        while waiting or self.running:
            if waiting and (not self.running or len(free) >= max(1, int(_ADMIT * at_once))):
                free = self._admit(seats, waiting, free)
            logits = seats.step([place for place, _, _ in self.running], [t for _, t, _ in self.running])
            tokens = self.picks.pick([row for _, _, row in self.running], logits)
            still = [
                (place, t, row)
                for (place, _, row), t in zip(self.running, tokens, strict=True)
                if not row.done
            ]
            done = len(self.running) - len(still)
            if done:
                taken = {place // seats.n for place, _, _ in still}
                self.running, free = still, [s for s in range(at_once) if s not in taken]
                if taken and not waiting and len(taken) < _KEEP_ABOVE * (1 + max(taken)):
                    self._move_together(seats, sorted(taken))
            else:
                self.running = still
            yield done

    def _admit(self, seats: Seats, waiting: deque[int], free: list[int]) -> list[int]:
        """Read waiting prompts into free seats; the seats that are left."""
        n = seats.n
        while waiting and free:
            chosen, tokens = [waiting.popleft()], len(self.prompts[waiting[0]]) if waiting else 0
            while waiting and len(chosen) < len(free) and tokens <= PROMPT_TOKENS:
                chosen.append(waiting.popleft())
                tokens += len(self.prompts[waiting[0]]) if waiting else 0
            mine, free = free[: len(chosen)], free[len(chosen) :]
            seats.read([self.prompts[i] for i in chosen], mine)
            for i, seat in zip(chosen, mine, strict=True):
                last = int(self.prompts[i][-1])
                self.running += [(seat * n + s, last, self.rows[i * n + s]) for s in range(n)]
        return free

    def _move_together(self, seats: Seats, taken: list[int]) -> None:
        seats.keep(taken)
        moved = {old: new for new, old in enumerate(taken)}
        n = seats.n
        self.running = [(moved[p // n] * n + p % n, t, row) for p, t, row in self.running]
