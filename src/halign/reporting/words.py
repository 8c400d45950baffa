"""The report's headline: what was gained, what was paid, and what nobody can tell, in plain words.

Every sentence is computed. A difference is called one only if its 95 % interval excludes zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from halign.evaluate import ALL, Interval, conditioning, measures, paired, score
from halign.reporting.evidence import Evidence, ModelEntry

NAMES = {
    "adherence": "all guardrails kept",
    "naturalness": "natural",
    "hallucination": "nothing invented",
    ALL: "all three right",
}

LESS = {
    "adherence": "breaks guardrails more often",
    "naturalness": "sounds natural less often",
    "hallucination": "invents facts more often",
}

MORE = {
    "adherence": "keeps all guardrails more often",
    "naturalness": "sounds natural more often",
    "hallucination": "invents facts less often",
}


@dataclass(frozen=True)
class Statement:
    """One sentence of the headline. ``tone`` is good, bad or open (nobody can tell)."""

    text: str
    tone: str


def points(i: Interval) -> str:
    """A difference of shares in points with its interval.

    >>> points(Interval(0.1, 0.05, 0.15, 100, 50))
    '+10 points (95 % interval +5 to +15)'
    """
    return f"{plus(i.value)} points (95 % interval {plus(i.low)} to {plus(i.high)})"


def plus(share: float) -> str:
    """A difference of shares in points, with its sign.

    >>> plus(0.051), plus(-0.12), plus(-0.001)
    ('+5', '−12', '0')
    """
    whole = round(100 * share)
    return f"{whole:+d}".replace("-", "−") if whole else "0"


def headline(evidence: Evidence) -> list[Statement]:
    """The findings, the most important first; empty where nothing was judged."""
    if evidence.findings:
        return list(evidence.findings)
    base = evidence.base
    trained = [m for m in evidence.answered if m is not base and not m.untrained]
    if base is None or not trained:
        return []
    best = max(trained, key=lambda m: score(m.pooled).shares[ALL].value)
    return [
        _against_base(best, base),
        *_no_gain(trained, best, base),
        *(_versus(evidence.model(a), evidence.model(b)) for a, b in evidence.pairs),
        *costs(best, base),
        *_habit(best, base),
    ]


def _per_hundred(m: ModelEntry, measure: str) -> str:
    return f"{100 * score(m.pooled).shares[measure].value:.0f}"


def _against_base(best: ModelEntry, base: ModelEntry) -> Statement:
    gap = paired(best.pooled, base.pooled, ALL)
    of = f"{_per_hundred(best, ALL)} of 100 replies against {_per_hundred(base, ALL)}"
    if gap.low > 0:
        text = f"The best model, {best.name}, beats the {base.name} model: {of} are right in all respects"
        return Statement(f"{text}, {points(gap)}.", "good")
    if gap.high < 0:
        return Statement(f"Every trained model is worse than the {base.name} model: at best {of}.", "bad")
    return Statement(
        f"No gain: no trained model clearly beats the {base.name} model on all respects at once. "
        f"The best, {best.name}: {of}, {points(gap)}.",
        "bad",
    )


def _no_gain(trained: list[ModelEntry], best: ModelEntry, base: ModelEntry) -> list[Statement]:
    """Which other models do not beat the base."""
    gaps = {m.name: paired(m.pooled, base.pooled, ALL) for m in trained if m is not best}
    worse = [n for n, g in gaps.items() if g.high < 0]
    unclear = [n for n, g in gaps.items() if not g.excludes_zero]
    out = []
    if worse:
        out.append(
            Statement(f"Worse than the {base.name} model in all respects at once: {_list(worse)}.", "bad")
        )
    if unclear:
        out.append(Statement(f"No clear gain over the {base.name} model: {_list(unclear)}.", "open"))
    return out


def _versus(a: ModelEntry, b: ModelEntry) -> Statement:
    """A against B: what it wins, what it loses."""
    gaps = {m: paired(a.pooled, b.pooled, m) for m in measures(a.pooled)}
    won = [f"{MORE.get(m, m)} ({plus(g.value)})" for m, g in gaps.items() if m != ALL and g.low > 0]
    lost = [f"{LESS.get(m, m)} ({plus(g.value)})" for m, g in gaps.items() if m != ALL and g.high < 0]
    whole = gaps[ALL]
    if not won and not lost and not whole.excludes_zero:
        return Statement(f"{a.name} against {b.name}: no difference that these prompts can show.", "open")
    parts = [p for p in (_list(won), f"but {_list(lost)}" if won and lost else _list(lost)) if p]
    first = f"{a.name} {', '.join(parts)} than {b.name}. " if parts else f"{a.name} against {b.name}: "
    if whole.excludes_zero:
        overall = f"Right in all respects at once: {points(whole)}."
    else:
        overall = f"Right in all respects at once: no clear difference, {points(whole)}."
    tone = "good" if whole.low > 0 else "bad" if whole.high < 0 else "open"
    return Statement(first + overall, tone)


def costs(best: ModelEntry, base: ModelEntry, dimensions: Sequence[str] | None = None) -> list[Statement]:
    """What a model pays for its gains, against where it started: on these dimensions (None: on all), and in form."""
    scores, before = score(best.pooled), score(base.pooled)
    paid = []
    for m in measures(best.pooled) if dimensions is None else dimensions:
        gap = paired(best.pooled, base.pooled, m)
        if m != ALL and gap.high < 0:
            paid.append(f"{LESS.get(m, m)}, {points(gap)}")
    if scores.repeats.low > before.repeats.high:
        paid.append(f"repeats itself in {100 * scores.repeats.value:.0f} % of its replies")
    if scores.unfinished.low > before.unfinished.high:
        paid.append(f"does not come to an end in {100 * scores.unfinished.value:.0f} % of its replies")
    longer = scores.tokens.value / max(before.tokens.value, 1e-9)
    if longer > 1.25 or longer < 0.8:
        paid.append(f"writes replies {longer:.1f} times as long")
    kl = (
        f" It has moved {scores.kl.value:.1f} nats per reply from the {base.name} model." if scores.kl else ""
    )
    if paid:
        return [Statement(f"What {best.name} pays for it: it {_list(paid)}.{kl}", "bad")]
    if paired(best.pooled, base.pooled, ALL).low <= 0:
        return []  # nothing gained: that nothing was paid is no news
    return [Statement(f"No cost of {best.name} against the {base.name} model was found.{kl}", "good")]


def _habit(best: ModelEntry, base: ModelEntry) -> list[Statement]:
    """Does it follow the guardrails in force, or has it merely taken up habits?"""
    after, before = conditioning(best.pooled), conditioning(base.pooled)
    if after is None or before is None:
        return []
    kept, habit = (after[k].value - before[k].value for k in (0, 1))
    text = (
        f"Is it obedience or habit? Where a guardrail is in force, {best.name} does what it asks for "
        f"{plus(kept)} points more often than the {base.name} model; where it is not in force, "
        f"{plus(habit)} points."
    )
    return [Statement(text, "good" if kept > 0 and habit < kept / 2 else "open")]


def _list(parts: list[str]) -> str:
    """Words joined as in a sentence.

    >>> _list(["a", "b", "c"])
    'a, b and c'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else ""
