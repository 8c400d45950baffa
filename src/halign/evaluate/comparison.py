"""Model A against model B: verdict shares and advantage per dimension, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from halign.evaluate.intervals import Interval, advantage, mean
from halign.judges import Outcome, Verdict, verdict
from halign.judges.records import PairRecord


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
    """Everything about A against B on one set of prompts.

    Attributes:
        troubles: dimension -> why there is no verdict -> on how many prompts (``judges.protocol.Trouble``). They are in no share.
    """

    a: str
    b: str
    dimensions: dict[str, DimensionResult]
    troubles: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

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
        for name, troubles in self.troubles.items():
            said = ", ".join(f"{count} {why}" for why, count in troubles.items())
            lines.append(f"{name:<16}  without a verdict in both orders, and not counted above: {said}")
        return "\n".join(lines)


def compare_outcomes(
    a: str, b: str, outcomes: Sequence[Mapping[str, Outcome]], conversations: Sequence[str]
) -> Comparison:
    """Shares and advantage per dimension from outcomes in both orders. A prompt counts where it has an outcome, and a dimension
    that has outcomes in fewer than two conversations is left out, since its spread cannot be known.
    """
    dimensions = {}
    for d in dict.fromkeys(d for o in outcomes for d in o):
        of = [o[d] for o in outcomes if d in o]
        clusters = [c for o, c in zip(outcomes, conversations, strict=True) if d in o]
        if len(set(clusters)) < 2:
            continue
        dimensions[d] = DimensionResult(
            shares={v: mean([o.share(v) for o in of], clusters).within(0.0, 1.0) for v in Verdict},
            advantage=advantage([o.advantage for o in of], clusters),
            disagreements=sum(not o.agrees for o in of) / len(of),
        )
    return Comparison(a, b, dimensions)


def compare_records(a: str, b: str, records: Iterable[PairRecord]) -> Comparison:
    """A comparison from the records of judging (of whole dimensions; guardrails are left aside)."""
    troubles: dict[str, Counter[str]] = {}
    outcomes: dict[tuple[str, str, str], dict[str, Outcome]] = {}
    for r in records:
        if {r.a, r.b} != {a, b} or r.guardrail is not None:
            continue
        if r.outcome is None:
            troubles.setdefault(r.dimension, Counter())[r.trouble or "failed"] += 1
            continue
        turned = r.outcome if r.a == a else Outcome(r.first.swapped, r.second.swapped)  # type: ignore[union-attr]
        outcomes.setdefault((r.conversation, r.item, r.judge), {})[r.dimension] = turned
    found = compare_outcomes(a, b, list(outcomes.values()), [c for c, *_ in outcomes])
    return replace(found, troubles=troubles)


def compare_grades(a: str, b: str, of_a: Sequence[Any], of_b: Sequence[Any], all_name: str) -> Comparison:
    """A comparison from replies (``evaluate.Reply``) that were graded one by one; adds their conjunction."""
    outcomes = []
    for x, y in zip(of_a, of_b, strict=True):
        pairs = {d: (ok, y.grade.acceptable[d]) for d, ok in x.grade.acceptable.items()}
        pairs[all_name] = (x.grade.all_right, y.grade.all_right)
        outcomes.append({d: Outcome(verdict(*p), verdict(*p)) for d, p in pairs.items()})
    return compare_outcomes(a, b, outcomes, [r.conversation for r in of_a])
