"""The sections of the guardrails recipe's report: all rules together, rule by rule, and what was built."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from halign.builders.contract import QUIET
from halign.builders.guardrails import UNCHECKED
from halign.builders.guardrails.judging import SILENT
from halign.evaluate import Interval
from halign.recipes.guardrails_data import CARD
from halign.recipes.guardrails_findings import Findings, verb
from halign.recipes.guardrails_llm import bill
from halign.recipes.guardrails_verdicts import BANS, DUTIES, SILENT_NAME, Tally, groups, rules
from halign.recipes.origins import BASE
from halign.reporting import Panel
from halign.reporting.words import plus

SAYS_OK = f"“{SILENT}” everywhere"
SHORT = 140
"""Characters of a rule that tables show."""
COLUMNS = ("model", "rules", "asked", "kept", "broken", "cannot tell", "kept, against base")
SHARES = (("a", "kept"), ("neither", "cannot tell"), ("b", "broken"))
"""(class of the style sheet, what), in the order in which a bar shows them."""

HOW = (
    "{turns} agent turns of {conversations} conversations that no model has learnt from, at each of which the agent's own reply "
    "is known to keep one rule or more. Every model replied there in the agent's place, and it was asked, rule by rule, whether "
    "its reply keeps the rule too: {asked} verdicts a model. Kept, broken and cannot tell are shares of all that was asked; a "
    "reply of which nothing can be told has not kept the rule. What a rule asks for (greet, say this next) is kept by what is "
    "in a reply. What it forbids is kept by what does not: there, kept means that nothing forbidden was found, which a reply "
    "about anything else reaches as well. The last row, a reply that says nothing, shows how much that is. "
)
LIMITS = (
    "Turns at which the agent broke a rule are not asked about, nor are rules that neither a check nor a judge understands. The "
    "same checks found the turns, proposed the broken replies and give these verdicts, so a model may have learnt the letter of "
    "a check: read some replies below. Of twenty intervals about one misses the truth by chance."
)
BY_RULE = (
    "Kept · cannot tell · broken, in per cent of what was asked; beneath, how much more often than the base a model keeps it, "
    "in points with the 95 % interval, in which conversations are taken as independent (– where all is of one conversation)."
)


def shortened(text: str) -> str:
    """A rule as tables show it."""
    return text if len(text) <= SHORT else f"{text[: SHORT - 2].rstrip()} …"


def per_cent(i: Interval) -> str:
    """A share with its interval.

    >>> per_cent(Interval(0.614, 0.5, 0.72, 20, 10))
    '61 % [50, 72]'
    """
    return f"{100 * i.value:.0f} % [{100 * i.low:.0f}, {100 * i.high:.0f}]"


def gain_of(t: Tally) -> str:
    """The gain over the base in points with its interval; '' where there is none."""
    return "" if t.gain is None else f"{plus(t.gain.value)} [{plus(t.gain.low)}, {plus(t.gain.high)}]"


def model_name(name: str) -> str:
    """A model's name as people read it."""
    return SAYS_OK if name == SILENT_NAME else name


def table_rows(found: Findings) -> list[list[str]]:
    """A row for each model, of what rules ask for, of what they forbid, and of both (``COLUMNS``)."""
    return [
        [
            *(model_name(n), group, f"{t.kept.n:,}", per_cent(t.kept), per_cent(t.broken), per_cent(t.open)),
            gain_of(t),
        ]
        for group, places in groups(found.asked).items()
        for n, t in found.tallies(places).items()
    ]


def whole(found: Findings) -> Panel:
    """All rules together: what they ask for, what they forbid, and both."""
    turns = {(r["conversation"], r["prompt"]) for r in found.asked}
    conversations = len({c for c, _ in turns})
    how = HOW.format(
        turns=f"{len(turns):,}", conversations=f"{conversations:,}", asked=f"{len(found.asked):,}"
    )
    charts = [
        bars(f"Where rules {verb(group)} something", found.tallies(places))
        for group, places in groups(found.asked).items()
        if group in (DUTIES, BANS)
    ]
    return Panel("kept", "Are the rules kept?", how + LIMITS, COLUMNS, table_rows(found), charts)


def bars(title: str, tallies: Mapping[str, Tally]) -> Markup:
    """One bar a model: kept, cannot tell, broken."""
    key = Markup("").join(
        Markup('<span><i class="{}"></i>{}</span>').format(css, what) for css, what in SHARES
    )
    line = Markup('<span>{}</span><div class="bar">{}</div>')
    lines = Markup("").join(line.format(model_name(n), _pieces(t)) for n, t in tallies.items())
    return Markup('<h3>{}</h3><div class="key">{}</div><div class="rules">{}</div>').format(title, key, lines)


def _pieces(t: Tally) -> Markup:
    piece = Markup('<span class="{}" style="width:{:.2f}%" title="{}: {:.0f} %">{}</span>')
    values = (100 * t.kept.value, 100 * t.open.value, 100 * t.broken.value)
    shown = zip(SHARES, values, strict=True)
    return Markup("").join(
        piece.format(css, x, what, x, f"{x:.0f}" if x >= 6 else "") for (css, what), x in shown
    )


def rule_by_rule(found: Findings) -> Panel:
    """Every rule: the three shares of each model, and under those of a trained one the gain over the base."""
    trained = [n for n in found.verdicts if n not in (BASE, SILENT_NAME)]
    rule = Markup('<div class="words" title="{}">{}<small>{}</small></div>')
    rows: list[Sequence[str]] = []
    for places in rules(found.asked).values():
        first, tallies = found.asked[places[0]], found.tallies(places)
        kept = tallies[BASE].kept
        rows.append(
            [
                rule.format(first["text"], shortened(first["text"]), BANS if first["forbids"] else DUTIES),
                f"{kept.n:,} / {kept.clusters:,}",
                *(_shares(t, gained=name in trained) for name, t in tallies.items()),
            ]
        )
    columns = ["rule", "asked / conversations", *map(model_name, found.verdicts)]
    return Panel("rules", "Rule by rule", BY_RULE, columns, rows)


def _shares(t: Tally, *, gained: bool) -> Markup:
    shown = Markup(" · ").join(f"{100 * i.value:.0f}" for i in (t.kept, t.open, t.broken))
    return shown + Markup("<small>{}</small>").format(gain_of(t) or "–") if gained else shown


def built(folder: Path, grades: Path) -> Panel:
    """What the builder made of the conversations to learn from, which rules it could do nothing with, and the cost.

    Args:
        folder, grades: of the stages that built and judged.
    """
    report = json.loads((folder / "train.jsonl.build.json").read_text(encoding="utf-8"))
    tallies = report["tallies"]
    rows: list[Sequence[str]] = [
        ["conversations read", f"{report['read']:,}"],
        ["of these with replies that break a rule", f"{report['built']:,}"],
        *([k, f"{n:,}"] for k, n in tallies.items() if not k.startswith(QUIET)),
        *([f"dropped: {k}", f"{n:,}"] for k, n in report["dropped"].items()),
    ]
    without = [(n, k.removeprefix(UNCHECKED)) for k, n in tallies.items() if k.startswith(UNCHECKED)]
    cell = Markup('<div class="words">conversations with a rule that has no check: {}</div>')
    rows += [[cell.format(shortened(k)), f"{n:,}"] for n, k in sorted(without, reverse=True)]
    notes = " ".join(n for n in report["notes"] if not n.startswith((" ", f"{len(without)} rules")))
    if without:
        notes += f" Rules without a check: {len(without)}. They count only where a language model tags and judges (--llm)."
    text = f"{notes} {bill(folder, grades)} The pairs have a page of their own, {CARD} in this folder."
    return Panel(
        "built", "What was built to learn from", text.strip(), ("what", "how many"), rows, folded=True
    )
