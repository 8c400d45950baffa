"""Model A against model B: verdict shares and advantage per dimension, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from halign.evaluate.intervals import Interval, advantage, mean
from halign.judges import Outcome, Verdict, verdict


@dataclass(frozen=True)
class DimensionResult:
    """One dimension of a comparison.

    Attributes:
        shares: verdict -> share of the comparisons, in [0, 1]; they sum to 1. Orders that disagree count
            half each.
        advantage: P(A better) - P(B better), in [-1, 1].
        disagreements: share of comparisons in which the two orders gave different verdicts.
    """

    shares: dict[Verdict, Interval]
    advantage: Interval
    disagreements: float

    @property
    def verdict(self) -> str:
        """ "A", "B" or "undecided": whose advantage the interval leaves no doubt about."""
        if not self.advantage.excludes_zero:
            return "undecided"
        return "A" if self.advantage.value > 0 else "B"


@dataclass(frozen=True)
class Comparison:
    """Everything about A against B on one set of prompts."""

    a: str
    b: str
    dimensions: dict[str, DimensionResult]

    def table(self) -> str:
        """The result as plain text, one line per dimension.

        The columns are the four verdicts' shares in per cent and the advantage of A with its 95 % interval.
        """
        head = f"{'A: ' + self.a + '   B: ' + self.b}\n{'':<16}" + "".join(f"{v.value:>20}" for v in Verdict)
        lines = [head + f"{'advantage of A':>28}"]
        for name, d in self.dimensions.items():
            cells = "".join(f"{100 * d.shares[v].value:>18.1f} %" for v in Verdict)
            a = d.advantage
            lines.append(f"{name:<16}{cells}{a.value:>+11.3f} [{a.low:+.3f}, {a.high:+.3f}]")
            if d.disagreements:
                lines.append(f"{'':<16}  the two orders disagreed on {100 * d.disagreements:.1f} %")
        return "\n".join(lines)


def compare_outcomes(
    a: str, b: str, outcomes: Sequence[Mapping[str, Outcome]], conversations: Sequence[str]
) -> Comparison:
    """Shares and advantage per dimension from outcomes in both orders."""
    dimensions = {}
    for d in outcomes[0]:
        of = [o[d] for o in outcomes]
        dimensions[d] = DimensionResult(
            shares={v: _within(mean([o.share(v) for o in of], conversations)) for v in Verdict},
            advantage=advantage([o.advantage for o in of], conversations),
            disagreements=sum(not o.agrees for o in of) / len(of),
        )
    return Comparison(a, b, dimensions)


def compare_grades(a: str, b: str, of_a: Sequence[Any], of_b: Sequence[Any], all_name: str) -> Comparison:
    """A comparison from replies (``evaluate.Reply``) that were graded one by one; adds their conjunction."""
    outcomes = []
    for x, y in zip(of_a, of_b, strict=True):
        pairs = {d: (ok, y.grade.acceptable[d]) for d, ok in x.grade.acceptable.items()}
        pairs[all_name] = (x.grade.all_right, y.grade.all_right)
        outcomes.append({d: Outcome(verdict(*p), verdict(*p)) for d, p in pairs.items()})
    return compare_outcomes(a, b, outcomes, [r.conversation for r in of_a])


def _within(i: Interval) -> Interval:
    """A share's interval cut to [0, 1]."""
    return Interval(i.value, max(0.0, i.low), min(1.0, i.high), i.n, i.clusters)
