"""What dialogues add up to: held or broken, the first violation, strategies, pass^k, and two models side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from halign.dialogues.passing import curves
from halign.dialogues.verdicts import Outcome
from halign.evaluate import Interval
from halign.judges.records import GradeRecord
from halign.suites import sessions
from halign.suites.guardrails import RULE
from halign.suites.totals import broken_down, estimate

SHOWN = 8
"""Turns of the survival curve in tables."""


@dataclass(frozen=True)
class Totals:
    """One model's dialogues in numbers.

    The unit of all intervals is what is independent (``Scenario.cluster``): a scenario with all its runs; under attack the
    conversation of the care world, or the guardrail, with all strategies and runs.

    Attributes:
        dialogues: name of a number -> its interval, over dialogues of which it can be told.
        strategies: strategy -> share that held, and mean turn of the first violation.
        guardrails: rule -> share of the verdicts that say kept.
        untold: dialogues without a verdict at any turn that counts; they are in no number.
    """

    dialogues: dict[str, Interval]
    strategies: dict[str, dict[str, Interval]]
    guardrails: dict[str, Interval]
    untold: int

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "dialogues": {k: i.to_dict() for k, i in self.dialogues.items()},
            "strategies": {s: {k: i.to_dict() for k, i in of.items()} for s, of in self.strategies.items()},
            "guardrails": {k: i.to_dict() for k, i in self.guardrails.items()},
            "untold": self.untold,
        }


def totals(outcomes: Sequence[Outcome], records: Sequence[GradeRecord]) -> Totals:
    """The numbers of one model's dialogues."""
    told = [o for o in outcomes if o.held is not None]
    found: dict[str, Interval | None] = {}
    if told:
        of = [o.session for o in told]
        found["dialogue held"] = sessions.held(of)
        found |= curves(((o.scenario, bool(o.held)) for o in told), {o.scenario: o.cluster for o in told})
        curve = sessions.survival(of)
        found |= {f"unbroken through turn {t}": i for t, i in curve.items() if t <= SHOWN}
        found["turn of the first violation, where there is one"] = sessions.first_violation(of)
        found["drift: later half of a dialogue less earlier half"] = sessions.drift(of)
    by_strategy: dict[str, list[Outcome]] = defaultdict(list)
    for o in told:
        if o.strategy:
            by_strategy[o.strategy].append(o)
    rules = broken_down([r for r in records if r.dimension == RULE], {}, ("guardrail",)).get("guardrail", {})
    return Totals(
        {k: i for k, i in found.items() if i is not None},
        {s: _strategy([o.session for o in some]) for s, some in by_strategy.items()},
        {name: of_rule[RULE] for name, of_rule in rules.items() if RULE in of_rule},
        len(outcomes) - len(told),
    )


def _strategy(of: Sequence[sessions.Session]) -> dict[str, Interval]:
    first = sessions.first_violation(of)
    return {"held": sessions.held(of), **({} if first is None else {"first violation": first})}


def against(a: Sequence[Outcome], b: Sequence[Outcome]) -> Interval | None:
    """Share of the dialogues that a's model held, less b's, over the same scenarios and runs; None of a single cluster."""
    of_b = {(o.scenario, o.run): o.held for o in b if o.held is not None}
    pairs = [
        (float(o.held), float(of_b[o.scenario, o.run]), o.cluster)
        for o in a
        if o.held is not None and (o.scenario, o.run) in of_b
    ]
    if len({c for _, _, c in pairs}) < 2:
        return None
    return estimate([x - y for x, y, _ in pairs], [c for _, _, c in pairs], (-1.0, 1.0))


def table(of: Mapping[str, Totals], differ: Interval | None) -> str:
    """The numbers of one or two models, as text."""
    blocks = [
        _block("", {m: t.dialogues for m, t in of.items()}),
        _block(
            "held, by strategy", {m: {s: x["held"] for s, x in t.strategies.items()} for m, t in of.items()}
        ),
        _block(
            "turn of the first violation, by strategy",
            {
                m: {s: x["first violation"] for s, x in t.strategies.items() if "first violation" in x}
                for m, t in of.items()
            },
        ),
        _block("kept, by guardrail (over verdicts)", {m: t.guardrails for m, t in of.items()}),
    ]
    if differ is not None:
        blocks.append(f"dialogues held, {' less '.join(of)}, same scenarios and runs: {differ}")
    untold = {m: t.untold for m, t in of.items() if t.untold}
    blocks += [f"{m}: {n} dialogues without a verdict that counts" for m, n in untold.items()]
    return "\n\n".join(b for b in blocks if b)


def _block(head: str, columns: Mapping[str, Mapping[str, Interval]]) -> str:
    names = list(dict.fromkeys(n for of in columns.values() for n in of))
    if not names:
        return ""
    cells = [[f"{of[n]}  n={of[n].n}" if n in of else "" for of in columns.values()] for n in names]
    wide = min(72, max(len(n) for n in (*names, head)))
    across = [max(len(c) for c in (m, *(row[k] for row in cells))) for k, m in enumerate(columns)]
    lines = [f"{head:{wide}}  " + "  ".join(f"{m:{w}}" for m, w in zip(columns, across, strict=True))]
    for name, row in zip(names, cells, strict=True):
        short = name if len(name) <= wide else name[: wide - 1] + "…"
        lines.append(f"{short:{wide}}  " + "  ".join(f"{c:{w}}" for c, w in zip(row, across, strict=True)))
    return "\n".join(line.rstrip() for line in lines)
