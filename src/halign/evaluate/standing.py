"""A comparison of several models while it is under way, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from halign.evaluate.comparison import Comparison, compare_records
from halign.evaluate.intervals import Interval, advantage
from halign.evaluate.planning import Observed, half_width, next_pairs, strengths
from halign.evaluate.significance import CORRECTIONS, corrected, sign_flip
from halign.judges.recording import PairCase
from halign.judges.records import PairRecord, Record

Names = tuple[str, str]


@dataclass(frozen=True)
class Standing:
    """How several models stand to each other.

    Attributes:
        comparisons: pair of names -> its own comparisons, counted directly.
        advantages: dimension -> pair -> P(first better) - P(second better): of two models counted directly, of more by the
            Bradley-Terry model, in which every comparison says something of every pair.
        ranking: dimension -> (model, strength), best first; strengths are log-odds with mean 0. Of two models: none.
        compared: comparisons judged; ``interval``: the half-width asked for, and ``reached``: whether all are within.
        p: dimension -> pair -> p of the sign-flip test that neither is better, from the pair's own comparisons.
    """

    models: list[str]
    comparisons: dict[Names, Comparison]
    advantages: dict[str, dict[Names, Interval]]
    ranking: dict[str, list[tuple[str, float]]]
    compared: int
    interval: float | None = None
    reached: bool = True
    p: Mapping[str, Mapping[Names, float]] = field(default_factory=dict)

    def table(self, correction: str = "holm") -> str:
        """The result as plain text.

        Args:
            correction: of the p of all pairs and dimensions together (``significance.CORRECTIONS``).

        Raises:
            HalignError: there is no such correction.
        """
        if len(self.models) == 2:
            tables = [c.table() for c in self.comparisons.values()]
        else:
            tables = [self._ranked(d) for d in self.advantages]
            tables += [c.table() for c in self.comparisons.values() if c.dimensions or c.troubles]
        if any(self.p.values()):
            tables.append(self._tests(correction))
        if self.interval is not None:
            said = "every interval is within" if self.reached else "the prompts were not enough for"
            tables.append(f"{self.compared} comparisons: {said} ±{self.interval:g}")
        return "\n\n".join(tables)

    def _tests(self, correction: str) -> str:
        tests = [(d, pair, p) for d, of in self.p.items() for pair, p in of.items()]
        adjusted = corrected([p for *_, p in tests], correction)
        lines = [f"sign-flip tests that neither is better, over {len(tests)}"]
        for (dimension, (a, b), p), q in zip(tests, adjusted, strict=True):
            after = (
                f", {CORRECTIONS[correction][0]} {q:.3g}" if correction != "none" and len(tests) > 1 else ""
            )
            lines.append(f"{dimension:<16}  {a} against {b}: p {p:.3g}{after}")
        return "\n".join(lines)

    def _ranked(self, dimension: str) -> str:
        lines = [
            f"{dimension}: advantage over the next, by Bradley and Terry's model, with its 95 % interval"
        ]
        names = [name for name, _ in self.ranking[dimension]]
        for place, (name, strength) in enumerate(self.ranking[dimension]):
            line = f"{place + 1:>3}  {name:<40}{strength:>+8.3f}"
            if place + 1 < len(names):
                over = self._of(dimension, name, names[place + 1])
                line += f"   {over.value:>+.3f} [{over.low:+.3f}, {over.high:+.3f}]"
            lines.append(line)
        return "\n".join(lines)

    def _of(self, dimension: str, a: str, b: str) -> Interval:
        found = self.advantages[dimension]
        if (a, b) in found:
            return found[a, b]
        turned = found[b, a]
        return Interval(-turned.value, -turned.high, -turned.low, turned.n, turned.clusters)


class Contest:
    """What has been compared so far.

    Args:
        models: names, two or more.
        records: of comparisons that there are already.
    """

    def __init__(self, models: Sequence[str], records: Iterable[Record] = ()) -> None:
        self.models = list(models)
        self.pairs = list(combinations(self.models, 2))
        self.records: list[PairRecord] = []
        self._judged: set[tuple[str, Names]] = set()
        self.add(records)

    @property
    def compared(self) -> int:
        """Comparisons asked for so far."""
        return len(self._judged)

    def add(self, records: Iterable[Record]) -> None:
        """Take in what a judge said."""
        for record in records:
            if isinstance(record, PairRecord):
                self.records.append(record)
                self._judged.add((record.item, (record.a, record.b)))

    def asked(self, cases: Iterable[PairCase]) -> None:
        """Note cases as compared, also those of which the judge says nothing."""
        self._judged |= {(item.item, (a, b)) for item, a, b in cases}

    def judged(self, case: PairCase) -> bool:
        """Whether a case was compared."""
        item, a, b = case
        return (item.item, (a, b)) in self._judged

    def open_at(self, item: str) -> list[Names]:
        """The pairs that were not compared on an item."""
        return [p for p in self.pairs if (item, p) not in self._judged]

    def choose(self, open_pairs: Sequence[Sequence[Names]]) -> list[Names]:
        """For each prompt the pair to compare next on it, of those that are open there (``planning.next_pairs``), by the
        dimension whose interval is the widest.
        """
        if len(self.models) == 2:
            return [found[0] for found in open_pairs]
        place = {name: i for i, name in enumerate(self.models)}
        numbers = [[(place[a], place[b]) for a, b in found] for found in open_pairs]
        needed = [(place[a], place[b]) for a, b in self.pairs]
        observed = self._observed()
        widths = {d: max(self._widths(o).values()) for d, o in observed.items()}
        of = observed[max(widths, key=lambda d: widths[d])] if widths else Observed()
        found = next_pairs(strengths(of, len(self.models)), needed, numbers)
        return [(self.models[p[0]], self.models[p[1]]) for p in found if p is not None]

    def widest(self) -> float:
        """Half of the widest interval, by the rule that ends a comparison; infinite before there is any."""
        observed = self._observed()
        return max((w for o in observed.values() for w in self._widths(o).values()), default=float("inf"))

    def standing(self, interval: float | None = None) -> Standing:
        """What came of it."""
        comparisons = {(a, b): compare_records(a, b, self.records) for a, b in self.pairs}
        advantages: dict[str, dict[Names, Interval]] = {}
        ranking: dict[str, list[tuple[str, float]]] = {}
        for d, observed in self._observed().items():
            if len(self.models) == 2:
                (pair,) = self.pairs
                if d in comparisons[pair].dimensions:
                    advantages[d] = {pair: comparisons[pair].dimensions[d].advantage}
                continue
            found = strengths(observed, len(self.models))
            numbered = combinations(range(len(self.models)), 2)
            advantages[d] = {p: found.advantage(*n) for p, n in zip(self.pairs, numbered, strict=True)}
            by_strength = zip(self.models, found.values.tolist(), strict=True)
            ranking[d] = sorted(by_strength, key=lambda row: -row[1])
        reached = interval is None or self.widest() <= interval
        p = {d: self._tested(observed) for d, observed in self._observed().items()}
        return Standing(self.models, comparisons, advantages, ranking, self.compared, interval, reached, p)

    def _tested(self, observed: Observed) -> dict[Names, float]:
        """Pair -> p, of those that were compared in two conversations or more."""
        found: dict[Names, float] = {}
        for x, y in combinations(range(len(self.models)), 2):
            of = [(v, c) for pair, v, c in observed.rows if pair == (x, y)]
            of += [(1 - v, c) for pair, v, c in observed.rows if pair == (y, x)]
            if len({c for _, c in of}) > 1:
                found[self.models[x], self.models[y]] = sign_flip(
                    [2 * v - 1 for v, _ in of], [c for _, c in of]
                )
        return found

    def _observed(self) -> dict[str, Observed]:
        place = {name: i for i, name in enumerate(self.models)}
        found: dict[str, Observed] = {}
        for r in self.records:
            if r.guardrail is None:
                observed = found.setdefault(r.dimension, Observed())
                if r.outcome is not None:
                    observed.add((place[r.a], place[r.b]), r.outcome.advantage, r.conversation)
        return found

    def _widths(self, observed: Observed) -> dict[tuple[int, int], float]:
        """Pair -> half-width."""
        if len(self.models) > 2:
            found = strengths(observed, len(self.models))
            return {p: found.half_width(*p) for p in combinations(range(len(self.models)), 2)}
        if len(set(observed.conversations)) < 2:
            return {(0, 1): float("inf")}
        values = [2 * y - 1 for y in observed.values]
        return {(0, 1): half_width(advantage(values, observed.conversations))}
