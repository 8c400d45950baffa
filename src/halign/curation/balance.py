"""What a learner could go by other than quality: are better responses longer, do scores follow length, how are labels spread.

A model that is trained on data in which the longer response wins learns to write at length (Singhal et al. 2023). Lengths are in
words.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from halign.checks import dialogue_of, replies_of
from halign.dialogue import Message
from halign.evaluate.intervals import Interval, mean
from halign.examples import Conversation, Example, Preference, Ranking, Rating


@dataclass
class Balance:
    """Counts over examples, added one by one; some 30 bytes a response are kept.

    Attributes:
        gaps: words of the better response less those of the worse one, of every pair that is told apart; ``owners``: the number
            of its conversation.
        scores, lengths: of every response with a score.
        labels: (label, words) of every response with one.
        turns: agent turn, from 1 -> [good, all] of its labels.
        in_force: guardrail -> [responses labelled good, all that have a label] where it is in force.
        broken: guardrail -> responses that are said to break it.
    """

    gaps: array[int] = field(default_factory=lambda: array("q"))
    owners: array[int] = field(default_factory=lambda: array("q"))
    scores: array[float] = field(default_factory=lambda: array("d"))
    lengths: array[int] = field(default_factory=lambda: array("q"))
    good: array[int] = field(default_factory=lambda: array("q"))
    bad: array[int] = field(default_factory=lambda: array("q"))
    turns: dict[int, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    in_force: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    broken: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    _names: dict[str, int] = field(default_factory=dict)

    def add(self, example: Example, conversation: str | None = None) -> None:
        """One example; ``conversation`` is what it belongs to where that is not its own."""
        name = example.conversation if conversation is None else conversation
        owner = self._names.setdefault(name, len(self._names))
        for better, worse in _compared(example):
            self.gaps.append(words(better) - words(worse))
            self.owners.append(owner)
        for message, score in _scored(example):
            self.scores.append(score)
            self.lengths.append(words(message))
        guardrails = dialogue_of(example).guardrails
        self.rules.update(guardrails)
        for message, label, turn in _labelled(example):
            (self.good if label else self.bad).append(words(message))
            for counts in (self.turns[turn], *(self.in_force[g] for g in guardrails)):
                counts[0] += label
                counts[1] += 1
        self.broken.update(broken_by(example))

    @property
    def longer(self) -> Interval | None:
        """How often the better response is the longer one, of the pairs whose lengths differ; 95 % interval clustered by
        conversation. 1/2 where length says nothing. None for fewer than two conversations.
        """
        gaps, owners = np.array(self.gaps), np.array(self.owners)
        told = gaps != 0
        if len(set(owners[told].tolist())) < 2:
            return None
        return mean((gaps[told] > 0).astype(float).tolist(), owners[told].tolist())

    @property
    def correlation(self) -> tuple[float, float] | None:
        """(Pearson's r, Spearman's rho) of score and words; None where one of them does not vary."""
        scores, lengths = np.array(self.scores), np.array(self.lengths, float)
        if len(scores) < 3 or np.ptp(scores) == 0 or np.ptp(lengths) == 0:
            return None
        ranks = stats.rankdata(scores), stats.rankdata(lengths)
        return float(np.corrcoef(scores, lengths)[0, 1]), float(np.corrcoef(*ranks)[0, 1])

    def rows(self) -> list[tuple[str, str]]:
        """What there is to say, for a table of two columns."""
        found = []
        if self.gaps:
            gaps = np.array(self.gaps)
            parts = [
                f"{n:,} {what}" for what, n in zip(("longer", "equal", "shorter"), _signs(gaps), strict=True)
            ]
            found.append(("the better response, in words", f"{', '.join(parts)}; mean {gaps.mean():+.1f}"))
        if (share := self.longer) is not None:
            said = f"{share.value:.1%} [{max(0.0, share.low):.1%}, {min(1.0, share.high):.1%}]"
            found.append(("the better one is longer, if lengths differ", said))
        if (both := self.correlation) is not None:
            found.append(
                (
                    "score and words",
                    f"r = {both[0]:+.2f}, rank correlation {both[1]:+.2f}, n = {len(self.scores):,}",
                )
            )
        if total := len(self.good) + len(self.bad):
            means = [
                f"{np.mean(x):.1f} words if {name}"
                for name, x in (("good", self.good), ("bad", self.bad))
                if x
            ]
            found.append(
                (
                    "labelled good",
                    f"{len(self.good):,} of {total:,} ({len(self.good) / total:.1%}); {', '.join(means)}",
                )
            )
        if len(self.turns) > 1:
            some = sorted(self.turns.items())[:6]
            found.append(
                (
                    "labelled good, by agent turn",
                    ", ".join(f"{t}: {g / n:.0%} of {n:,}" for t, (g, n) in some),
                )
            )
        return found

    def guardrails(self) -> list[tuple[str, int, str, int]]:
        """(guardrail, examples in which it is in force, share of good labels there, responses that break it), commonest first."""
        names = [name for name, _ in (self.rules + self.broken).most_common()]
        return [(g, self.rules[g], _share(self.in_force.get(g)), self.broken[g]) for g in names]


def words(message: Message) -> int:
    """Length of a message, in words."""
    return len(message.content.split())


def _share(counts: list[int] | None) -> str:
    return f"{counts[0] / counts[1]:.0%} of {counts[1]:,}" if counts and counts[1] else "–"


def _signs(gaps: np.ndarray) -> tuple[int, int, int]:
    return int((gaps > 0).sum()), int((gaps == 0).sum()), int((gaps < 0).sum())


def _compared(example: Example) -> Iterator[tuple[Message, Message]]:
    """(better, worse) of every two responses that the example tells apart."""
    match example:
        case Preference() if example.preference != 0.5:
            pair = (example.chosen, example.rejected)
            yield pair if example.preference > 0.5 else (pair[1], pair[0])
        case Ranking():
            placed = list(zip(example.responses, example.ranks, strict=True))
            yield from ((a, b) for a, i in placed for b, j in placed if i < j)
        case Conversation():
            for turn, alternatives in example.alternatives.items():
                own = example.dialogue.messages[turn]
                yield from ((own, a.message) for a in alternatives if a.rank != 1 and a.label is not True)


def _scored(example: Example) -> Iterator[tuple[Message, float]]:
    match example:
        case Rating() if example.score is not None:
            yield example.response, example.score
        case Ranking() if example.scores is not None:
            yield from zip(example.responses, example.scores, strict=True)
        case Conversation():
            some = [a for turn in example.alternatives.values() for a in turn]
            yield from ((a.message, a.score) for a in some if a.score is not None)


def _labelled(example: Example) -> Iterator[tuple[Message, bool, int]]:
    """(response, label, number of the agent turn from 1)."""
    match example:
        case Rating():
            before = sum(m.role == "assistant" for m in example.prompt.messages)
            yield example.response, example.desirable, before + 1
        case Conversation():
            for turn, alternatives in example.alternatives.items():
                before = sum(m.role == "assistant" for m in example.dialogue.messages[:turn])
                yield from ((a.message, a.label, before + 1) for a in alternatives if a.label is not None)


def broken_by(example: Example) -> list[str]:
    """Guardrails that responses of the example are said to break, each as often as it is said."""
    names = [getattr(example, "violates", None)]
    names += [a.violates for turn in getattr(example, "alternatives", {}).values() for a in turn]
    names += [m.extra.get("violates") for m in replies_of(example)]
    return [n for n in names if isinstance(n, str)]
