"""Sessions: what a model does over the turns of one conversation. Pure functions on (turn, kept) of each session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from halign.evaluate import Interval, share
from halign.suites.totals import estimate

RESAMPLES = 1000


@dataclass(frozen=True)
class Session:
    """One conversation, or one draw of it.

    Attributes:
        turns: (number of the agent's turn from 1, every rule kept there) in order; turns where no rule applied are left out.
    """

    conversation: str
    turns: tuple[tuple[int, bool], ...]

    @property
    def broken(self) -> int | None:
        """The agent's turn at which a rule was first broken; None: none was."""
        return next((t for t, kept in self.turns if not kept), None)


def held(sessions: Sequence[Session]) -> Interval:
    """Share of the sessions in which no rule was broken at any turn."""
    return estimate([float(s.broken is None) for s in sessions], [s.conversation for s in sessions])


def first_violation(sessions: Sequence[Session]) -> Interval | None:
    """Mean turn of the first violation over the sessions that have one; None if none has."""
    found = [(float(s.broken), s.conversation) for s in sessions if s.broken is not None]
    if not found:
        return None
    values, clusters = zip(*found, strict=True)
    last = max(t for s in sessions for t, _ in s.turns)
    return estimate(values, clusters, (1.0, float(last)))


def survival(sessions: Sequence[Session], *, seed: int = 0, level: float = 0.95) -> dict[int, Interval]:
    """Turn -> probability that a session is unbroken through that turn, by Kaplan and Meier's product.

    S(t) = prod over u <= t of (1 - d_u / n_u), where n_u sessions came unbroken to turn u and were judged there or later, and d_u
    were first broken at u; so sessions that end early are censored, not counted as held. Intervals are percentiles over resampled
    conversations; of 0 and 1, which no resampling changes, those of a share among the conversations still at risk. Turns that no
    session came unbroken to are left out.
    """
    names: dict[str, int] = {}
    codes = np.array([names.setdefault(s.conversation, len(names)) for s in sessions])
    last = max((t for s in sessions for t, _ in s.turns), default=0)
    risk, broken = np.zeros((len(names), last)), np.zeros((len(names), last))
    for code, s in zip(codes, sessions, strict=True):
        end = s.broken or s.turns[-1][0]
        risk[code, :end] += 1
        if s.broken is not None:
            broken[code, s.broken - 1] += 1
    curve = _product(risk.sum(0), broken.sum(0))
    last = int((risk.sum(0) > 0).sum())
    if len(names) < 2:
        return {t + 1: Interval(float(curve[t]), 0.0, 1.0, len(sessions), len(names)) for t in range(last)}
    at_risk = (risk > 0).sum(0)
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    curves = np.array([_product(risk[d].sum(0), broken[d].sum(0)) for d in drawn])
    low, high = np.quantile(curves, [(1 - level) / 2, (1 + level) / 2], axis=0)
    found = {}
    for t in range(last):
        seen = (
            share([bool(curve[t])] * int(at_risk[t]), range(int(at_risk[t]))) if curve[t] in (0, 1) else None
        )
        ends = (low[t], high[t]) if seen is None else (seen.low, seen.high)
        found[t + 1] = Interval(
            float(curve[t]), float(ends[0]), float(ends[1]), int(risk[:, t].sum()), int(at_risk[t])
        )
    return found


def _product(risk: np.ndarray, broken: np.ndarray) -> np.ndarray:
    """Kaplan-Meier curve; where nobody is at risk any more, it stays."""
    hazard = np.divide(broken, risk, out=np.zeros_like(broken), where=risk > 0)
    return np.asarray(np.cumprod(1 - hazard))


def drift(sessions: Sequence[Session]) -> Interval | None:
    """Mean over sessions of adherence in the later half of the turns less that in the earlier half; None if none has two turns.

    Of an odd number of turns the middle one counts in neither half. Below zero: rules are forgotten as the session goes on.
    """
    found = []
    for s in sessions:
        kept = [float(k) for _, k in s.turns]
        half = len(kept) // 2
        if half:
            found.append((float(np.mean(kept[-half:]) - np.mean(kept[:half])), s.conversation))
    if not found:
        return None
    values, clusters = zip(*found, strict=True)
    return estimate(values, clusters, (-1.0, 1.0))


def sessions_of(kept: Mapping[tuple[str, int, int], bool]) -> list[Session]:
    """Sessions from (conversation, draw, agent's turn) -> every rule kept there."""
    found: dict[tuple[str, int], list[tuple[int, bool]]] = defaultdict(list)
    for (conversation, draw, turn), fine in kept.items():
        found[conversation, draw].append((turn, fine))
    return [Session(conversation, tuple(sorted(turns))) for (conversation, _), turns in found.items()]
