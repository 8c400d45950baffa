"""What the guardrails recipe found, in numbers and in sentences. A difference counts only if its 95 % interval excludes zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from halign.builders.guardrails.judging import SILENT
from halign.evaluate import Interval
from halign.recipes.guardrails_verdicts import BANS, DUTIES, SILENT_NAME, Row, Tally, groups, picked, tally
from halign.recipes.origins import BASE
from halign.reporting import Evidence, ModelEntry
from halign.reporting.words import Statement, costs, points


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        verdicts: model (and ``SILENT_NAME``) -> a row for each rule asked, the same ones in the same order.
    """

    evidence: Evidence
    verdicts: Mapping[str, Sequence[Row]]

    @property
    def asked(self) -> Sequence[Row]:
        """What was asked, with the base's verdicts."""
        return self.verdicts[BASE]

    def tallies(self, places: Sequence[int]) -> dict[str, Tally]:
        """The tally of every model over the verdicts at these places."""
        base = picked(self.asked, places)
        return {n: tally(picked(v, places), None if n == BASE else base) for n, v in self.verdicts.items()}

    def gain(self, a: str, b: str, places: Sequence[int]) -> Interval | None:
        """How much more often one model keeps what was asked than another."""
        return tally(picked(self.verdicts[a], places), picked(self.verdicts[b], places)).gain


def _best_first(found: Findings, models: Sequence[ModelEntry], places: Sequence[int]) -> list[ModelEntry]:
    def gained(model: ModelEntry) -> float:
        gain = found.gain(model.name, BASE, places)
        return gain.value if gain else 0.0

    return sorted(models, key=gained, reverse=True)


def findings(found: Findings) -> list[Statement]:
    """The findings in words: each trained model against the base and against saying nothing, best first; then the pairs; then
    the costs."""
    trained = [m for m in found.evidence.answered if not m.untrained]
    of_group = {g: places for g, places in groups(found.asked).items() if g in (DUTIES, BANS)}
    said = [
        statement
        for group, places in of_group.items()
        for m in _best_first(found, trained, places)
        for statement in _against_base(found, group, places, m.name)
    ]
    if DUTIES not in of_group:
        text = (
            "All rules that were asked forbid something, which a reply that says nothing never does: these verdicts cannot show "
            "that a model does what it is there for."
        )
        said.append(Statement(text, "open"))
    for a, b in found.evidence.pairs:
        said += [_versus(found, group, places, a, b) for group, places in of_group.items()]
    if trained:
        paid = costs(trained[-1], found.evidence.model(BASE), dimensions=())
        said += [
            s for s in paid if s.tone == "bad"
        ]  # what it breaks more often was said above: "no cost" is not for this to say
    return said


def verb(group: str) -> str:
    """What rules of a group do.

    >>> verb(DUTIES), verb(BANS)
    ('ask for', 'forbid')
    """
    return "ask for" if group == DUTIES else "forbid"


def _against_base(found: Findings, group: str, places: Sequence[int], name: str) -> list[Statement]:
    """What a model keeps, breaks and leaves open, against the base; and whether saying nothing would do as well."""
    tallies = found.tallies(places)
    own, base, silent = (tallies[n] for n in (name, BASE, SILENT_NAME))
    text = (
        f"Where rules {verb(group)} something, {name} keeps {_hundred(own.kept)} of 100, the base {_hundred(base.kept)}: "
        f"{_difference(own.gain)}. Broken are {_hundred(own.broken)} (the base {_hundred(base.broken)}); of {_hundred(own.open)} "
        f"nobody can tell ({_hundred(base.open)})."
    )
    if group == BANS:
        text += f" A reply that says nothing (“{SILENT}”) keeps {_hundred(silent.kept)}."
        return [Statement(text, _tone(own.gain))]
    said = [Statement(text, _tone(own.gain))]
    if own.more_broken is not None and own.more_broken.low > 0:
        said.append(
            Statement(f"{name} also breaks more of them than the base: {points(own.more_broken)}.", "bad")
        )
    over = found.gain(name, SILENT_NAME, places)
    if over is not None and over.low > 0:
        return said
    no_better = (
        f"{name} does not keep what rules ask for clearly more often than a reply that says nothing (“{SILENT}”), which keeps "
        f"{_hundred(silent.kept)} of 100."
    )
    return [*said, Statement(no_better, "bad")]


def _versus(found: Findings, group: str, places: Sequence[int], a: str, b: str) -> Statement:
    gain = found.gain(a, b, places)
    return Statement(
        f"{a} against {b}, where rules {verb(group)} something: {_difference(gain)}.", _tone(gain)
    )


def _difference(gain: Interval | None) -> str:
    if gain is None:
        return "all of one conversation, so that no difference can be told from chance"
    return points(gain) if gain.excludes_zero else f"no clear difference, {points(gain)}"


def _tone(gain: Interval | None) -> str:
    return "open" if gain is None or not gain.excludes_zero else "good" if gain.low > 0 else "bad"


def _hundred(i: Interval) -> str:
    return f"{100 * i.value:.0f}"
