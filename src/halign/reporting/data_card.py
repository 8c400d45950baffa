"""A data set's card: one self-contained HTML file with counts, lengths, balance, repeats, examples, licences, its making."""

from __future__ import annotations

import random
import tempfile
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from halign import __version__, lineage
from halign.checks import dialogue_of, replies_of
from halign.curation.balance import Balance, words
from halign.curation.dedupe import gather, repeats
from halign.curation.minhash import NEAR
from halign.curation.source import Row, RowSource, Watch, unwatched
from halign.errors import HalignError
from halign.examples import Conversation, Example, Preference, Ranking, Rating
from halign.reporting.environment import environment, template
from halign.reporting.evidence import Panel
from halign.reporting.page import Report
from halign.reporting.svg import Bar, bars

SHOWN, BINS = 4, 12
ABOUT = ("title", "description", "licence", "source")
"""What a YAML file beside the data, or options, may say; any further entries are shown as they are."""
OF_ROWS = ("licence", "license", "source", "domain", "split")
"""Columns whose commonest values are shown."""


@dataclass
class Facts:
    """What one reading of the rows finds.

    Attributes:
        kinds: kind of example -> how many.
        lengths: what is measured -> its values, a number each.
        values: column -> its values and how often they occur.
        sample: rows to show, drawn with a fixed seed.
    """

    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    conversations: set[str] = field(default_factory=set)
    lengths: dict[str, array[int]] = field(default_factory=dict)
    values: dict[str, Counter[str]] = field(default_factory=dict)
    balance: Balance = field(default_factory=Balance)
    sample: list[Row] = field(default_factory=list)

    def add(self, row: Row, conversation: str, rng: random.Random) -> None:
        """One row; every row has the same chance to be shown (reservoir sampling)."""
        self.rows += 1
        e = row.example
        self.kinds[type(e).__name__ if e is not None else "Prompt"] += 1
        self.conversations.add(conversation)
        messages = row.dialogue.messages
        self._note("turns of a dialogue or prompt", len(messages))
        self._note("words of a dialogue or prompt", sum(map(words, messages)))
        for reply in replies_of(e) if e is not None else ():
            self._note("words of a response", words(reply))
        for column in OF_ROWS:
            value = row.row.get(column, row.dialogue.meta.get(column))
            if isinstance(value, str):
                self.values.setdefault(column, Counter())[value] += 1
        if e is not None:
            self.balance.add(e, conversation)
        if len(self.sample) < SHOWN:
            self.sample.append(row)
        elif (place := rng.randrange(self.rows)) < SHOWN:
            self.sample[place] = row

    def _note(self, name: str, value: int) -> None:
        self.lengths.setdefault(name, array("q")).append(value)


def data_card(
    source: RowSource,
    *,
    about: Mapping[str, str] | None = None,
    threshold: float = NEAR,
    watch: Watch[Row] = unwatched,
) -> Report:
    """The card of a file.

    Args:
        about: title, description, licence, source ...; goes before what ``FILE.card.yaml`` beside the file says.
        threshold: similarity from which rows count as near-duplicates.

    Raises:
        HalignError: as reading; a YAML file that is none.
    """
    facts, file = _facts(source, watch), Path(source.file)
    said = {**beside(file), **{k: v for k, v in (about or {}).items() if v}}
    context = {
        "title": said.pop("title", file.name),
        "description": said.pop("description", ""),
        "about": list(said.items()),
        "counts": _counts(source, facts, threshold, watch),
        "charts": [_chart(name, np.array(values)) for name, values in facts.lengths.items()],
        "lengths": [(name, *_spread(np.array(values))) for name, values in facts.lengths.items()],
        "values": [(c, v.most_common(8), len(v)) for c, v in facts.values.items()],
        "balance": facts.balance.rows(),
        "guardrails": facts.balance.guardrails()[:40],
        "steps": steps(file),
        "examples": [_shown(row) for row in sorted(facts.sample, key=lambda r: r.number)],
        "skipped": [str(e) for e in source.skipped[:20]],
        "version": __version__,
        "css": template("style.css"),
    }
    return Report(environment().get_template("card.html.jinja").render(context))


def card_panels(file: Path, name: str) -> list[Panel]:
    """The card as a section of a report: what it counts, what it says of licence and making, and its charts.

    Args:
        name: what the section is called after.

    Raises:
        HalignError: as ``data_card``.
    """
    source = RowSource(file)
    facts, said = _facts(source, unwatched), beside(file)
    text = " ".join(said.pop(k) for k in ("title", "description") if k in said)
    lengths = [
        (f"{measure}: mean, median, 95 %, most", ", ".join(_spread(np.array(of))))
        for measure, of in facts.lengths.items()
    ]
    values = [
        (column, ", ".join(f"{v} ({n:,})" for v, n in of.most_common(8)))
        for column, of in facts.values.items()
    ]
    made = [(f"built by {b}", f"from {of}, which is {state}; {how}") for b, how, of, state in steps(file)]
    rows = [
        *_counts(source, facts, NEAR, unwatched),
        *lengths,
        *values,
        *facts.balance.rows(),
        *said.items(),
        *made,
    ]
    charts = [_chart(measure, np.array(of)) for measure, of in facts.lengths.items()]
    place = "".join(c if c.isalnum() else "-" for c in name)
    return [Panel(f"data-{place}", f"Data: {name}", text, ("what", "how much"), rows, charts, words=2)]


def _facts(source: RowSource, watch: Watch[Row]) -> Facts:
    name_of, facts, rng = source.conversations(watch), Facts(), random.Random(0)
    for row in watch(source, "reading"):
        facts.add(row, name_of(row.conversation), rng)
    return facts


def beside(file: Path) -> dict[str, str]:
    """What ``FILE.card.yaml`` says, empty if there is none.

    Raises:
        HalignError: if it is no mapping of words.
    """
    path = file.with_name(f"{file.name}.card.yaml")
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise HalignError(f"{path}: not YAML: {error}") from None
    if not isinstance(found, dict):
        raise HalignError(f"{path}: expected entries such as {', '.join(f'{k}: ...' for k in ABOUT)}")
    return {
        str(k): v if isinstance(v, str) else yaml.safe_dump(v, default_flow_style=True).strip()
        for k, v in found.items()
    }


def _counts(source: RowSource, facts: Facts, threshold: float, watch: Watch[Row]) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory(prefix="halign-card-") as scratch:
        found = repeats(
            gather(source, "dialogue", threshold, (), Path(scratch), watch), threshold, within=False
        )
        same, alike = int(found.same.sum()), int(((found.like >= 0) & ~found.same).sum())
    kinds = ", ".join(f"{n:,} {name}" for name, n in facts.kinds.items())
    return [
        (
            "rows",
            f"{facts.rows:,}"
            + (f", and {len(source.skipped):,} bad ones left out" if source.skipped else ""),
        ),
        ("form", source.format),
        ("examples", kinds),
        ("conversations", f"{len(facts.conversations):,}"),
        ("rows with the words of another", f"{same:,} ({same / facts.rows:.1%})"),
        (f"further rows like another (similarity {threshold:g})", f"{alike:,} ({alike / facts.rows:.1%})"),
        ("sha256", lineage.file_hash(Path(source.file)) or "–"),
    ]


def _spread(values: np.ndarray) -> tuple[str, ...]:
    quantiles = np.quantile(values, (0.5, 0.95), method="nearest")
    return (f"{values.mean():.1f}", *(f"{q:,.0f}" for q in quantiles), f"{values.max():,}")


def _chart(name: str, values: np.ndarray) -> Markup:
    """How often which length occurs; the longest one in a hundred share the last bar."""
    top = max(int(np.quantile(values, 0.99, method="nearest")), int(values.min()) + 1)
    width = max(1, -(-(top - int(values.min()) + 1) // BINS))
    low = int(values.min())
    counts = np.bincount(np.minimum((values - low) // width, (top - low) // width))
    rows = []
    for i, n in enumerate(counts.tolist()):
        start, end = low + i * width, low + (i + 1) * width - 1
        label = (
            f"{start:,} and more" if i == len(counts) - 1 and values.max() > end else f"{start:,} to {end:,}"
        )
        rows.append(Bar(label if width > 1 or "more" in label else f"{start:,}", (float(n),)))
    return bars(rows, name, f"{name}: how often", ("c1",))


def steps(file: Path) -> list[tuple[str, str, str, str]]:
    """(builder, settings, source, is it as it was) of every step that made the file, the first one first."""
    found = []
    for step in reversed(list(lineage.read_header(file).values())):
        settings = ", ".join(f"{k}: {v}" for k, v in step.settings.items() if v not in (None, "", [], False))
        now = lineage.file_hash(Path(step.file))
        state = "not there any more" if not now else "as it was" if now == step.sha256 else "changed since"
        found.append((f"{step.builder} {step.version}", settings, Path(step.file).name, state))
    return found


@dataclass(frozen=True)
class Shown:
    """An example, ready to be shown: turns are (role, text, [(what it is called, text, is it good, what it breaks)])."""

    title: str
    guardrails: Sequence[str]
    turns: Sequence[tuple[str, str, Sequence[tuple[str, str, bool, str]]]]


def _shown(row: Row) -> Shown:
    e, dialogue = row.example, row.dialogue
    turns: list[tuple[str, str, Sequence[tuple[str, str, bool, str]]]] = []
    for i, m in enumerate(dialogue.messages):
        turns.append((m.role, m.content, _alternatives(e, i) if isinstance(e, Conversation) else ()))
    if e is not None and (judged := _judged(e)):
        turns.append(("", "", judged))
    return Shown(
        f"row {row.number} · {row.conversation}", dialogue_of(e).guardrails if e is not None else (), turns
    )


def _alternatives(example: Conversation, turn: int) -> list[tuple[str, str, bool, str]]:
    found = []
    for a in example.alternatives.get(turn, ()):
        said: Any = (
            f"rank {a.rank}" if a.rank is not None else f"score {a.score:g}" if a.score is not None else None
        )
        said = said or ("good" if a.label else "bad")
        found.append((said, a.message.content, a.label is True or a.rank == 1, a.violates or ""))
    return found


def _judged(example: Example) -> list[tuple[str, str, bool, str]]:
    match example:
        case Preference():
            broken = example.violates or str(example.rejected.extra.get("violates", ""))
            return [
                ("chosen", example.chosen.content, True, ""),
                ("rejected", example.rejected.content, False, broken),
            ]
        case Ranking():
            placed = zip(example.responses, example.ranks, strict=True)
            return [
                (f"rank {r}", m.content, r == example.ranks[0], str(m.extra.get("violates", "")))
                for m, r in placed
            ]
        case Rating():
            said = "good" if example.desirable else "bad"
            return [
                (
                    said if example.score is None else f"{said}, score {example.score:g}",
                    example.response.content,
                    example.desirable,
                    "",
                )
            ]
    return []
