"""How ``halign data`` prints: tables of two columns, lengths, and conversations with their alternatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import quantiles

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from halign.checks import TokenReport, dialogue_of, replies_of
from halign.dialogue import Message
from halign.errors import DataError
from halign.examples import Alternative, Conversation, Demonstration, Example, Preference, Ranking, Rating
from halign.readers import Data

COLOURS = {
    "user": "cyan",
    "assistant": "green",
    "system": "magenta",
    "developer": "magenta",
    "tool": "yellow",
}
GOOD, BAD = "✓", "✗"


def print_table(console: Console, title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Two columns: what, and how much."""
    table = Table(title=title, title_justify="left", show_header=False, expand=False)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    console.print(table)


def print_guardrails(console: Console, rows: Sequence[tuple[str, int, str, int]], top: int = 12) -> None:
    """The commonest guardrails: in force, labelled good there, broken."""
    table = Table("in force", "good", "broken", "rule", title="guardrails", title_justify="left")
    for rule, n, good, broken in rows[:top]:
        table.add_row(f"{n:,}", good, f"{broken:,}", Text(rule, overflow="ellipsis", no_wrap=True))
    if len(rows) > top:
        table.add_row("", "", "", f"... {len(rows) - top:,} more")
    console.print(table)


def note(console: Console, text: str) -> None:
    """One remark."""
    console.print(Text(f"· {text}"))


def good(console: Console, text: str) -> None:
    """The last line of a check that passed."""
    console.print(Text(f"{GOOD} {text}", style="green"))


def list_skipped(console: Console, data: Data, most: int) -> None:
    """The bad rows, one line each, and how many there are."""
    list_errors(console, data.skipped, most)


def list_errors(console: Console, errors: Sequence[DataError], most: int) -> None:
    """One line each, and how many there are."""
    if not errors:
        return
    console.print(Text(f"{BAD} {len(errors):,} bad rows", style="bold red"))
    for error in errors[:most]:
        console.print(Padding(Text(str(error).splitlines()[0]), (0, 0, 0, 2)))
    if len(errors) > most:
        console.print(f"  ... {len(errors) - most:,} more")


# -- numbers -------------------------------------------------------------------------------------------------


def spread(values: Sequence[int]) -> tuple[str, str, str, str]:
    """(mean, median, 95th percentile, maximum) of lengths, ready to print.

    >>> spread([1, 2, 3])
    ('2.0', '2', '3', '3')
    """
    if not values:
        return "-", "-", "-", "-"
    mean = f"{sum(values) / len(values):.1f}"
    if len(values) == 1:
        return mean, f"{values[0]:,}", f"{values[0]:,}", f"{values[0]:,}"
    cuts = quantiles(values, n=20, method="inclusive")
    return mean, f"{round(cuts[9]):,}", f"{round(cuts[18]):,}", f"{max(values):,}"


def lengths(data: Sequence[Example]) -> list[tuple[str, list[int]]]:
    """Turns and words of every dialogue and reply."""
    whole = all(isinstance(e, Demonstration | Conversation) for e in data)
    name = "dialogue" if whole else "prompt"
    dialogues = [dialogue_of(e) for e in data]
    return [
        (f"turns of a {name}", [len(d) for d in dialogues]),
        (f"words of a {name}", [sum(len(m.content.split()) for m in d.messages) for d in dialogues]),
        ("words of a reply", [len(m.content.split()) for e in data for m in replies_of(e)]),
        ("guardrails of an example", [len(d.guardrails) for d in dialogues]),
    ]


def print_lengths(console: Console, rows: Sequence[tuple[str, list[int]]]) -> None:
    """Lengths as mean, median, 95th percentile and maximum."""
    table = Table("length", "mean", "median", "95 %", "most", title="lengths", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, values in rows:
        if any(values):
            table.add_row(name, *spread(values))
    console.print(table)


def verdicts(data: Sequence[Example]) -> list[tuple[str, str]]:
    """What people said of the replies: list sizes, ties, soft preferences, kinds of alternatives."""
    rows: list[tuple[str, str]] = []
    rankings = [e for e in data if isinstance(e, Ranking)]
    if rankings:
        sizes = Counter(len(e.responses) for e in rankings)
        tied = sum(len(set(e.ranks)) < len(e.ranks) for e in rankings)
        rows.append(("replies of a ranking", ", ".join(f"{k}: {n:,}" for k, n in sorted(sizes.items()))))
        rows.append(
            ("rankings with ties", f"{tied:,}, {sum(e.ranks[0] == e.ranks[-1] for e in rankings):,} in all")
        )
        longer = [_longest_wins([m.content for m in e.responses], e.ranks) for e in rankings]
        rows.append(("the longest reply is a best one", f"{sum(longer) / len(longer):.1%}"))
    pairs = [e for e in data if isinstance(e, Preference)]
    if pairs:
        soft = sum(e.preference not in (0.0, 1.0) for e in pairs)
        rows.append(("pairs with a soft preference", f"{soft:,} of {len(pairs):,}"))
    others = [a for e in data if isinstance(e, Conversation) for s in e.alternatives.values() for a in s]
    if others:
        kinds = Counter(verdict(a).split()[0] for a in others)
        rows.append(("alternatives", ", ".join(f"{n:,} by {k}" for k, n in kinds.items())))
    return rows


def _longest_wins(replies: Sequence[str], ranks: Sequence[int]) -> bool:
    """True if the first of the longest replies, in words, has the best rank."""
    words = [len(r.split()) for r in replies]
    return ranks[words.index(max(words))] == ranks[0]


def token_rows(report: TokenReport, kind: str) -> list[tuple[str, str]]:
    """A token report, ready to print."""
    rows = [("items", f"{report.items:,} {kind}"), ("paths", f"{len(report.prompts):,}")]
    for name, values in (("prompt", report.prompts), ("reply", report.responses)):
        mean, median, high, most = spread(values)
        rows.append((f"tokens of a {name}", f"mean {mean}, median {median}, 95 % {high}, most {most}"))
    rows.append(("tokens, every path on its own", f"{report.flat:,}"))
    rows.append(("distinct tokens, shared prefixes once", f"{report.distinct:,}"))
    rows.append(("sharing factor, within conversations", f"{report.sharing:.2f}"))
    return rows


# -- conversations -------------------------------------------------------------------------------------------


def print_example(console: Console, example: Example, number: int | None) -> None:
    """One example: its name (unless ``number`` is None), rules, turns, replies."""
    if number is not None:
        title = f"{number}: {type(example).__name__} {example.conversation}"
        console.print(Rule(Text(title), align="left"))
    dialogue = dialogue_of(example)
    for rule in dialogue.guardrails:
        console.print(Padding(Text(f"§ {rule}", style="magenta"), (0, 0, 0, 2)))
    for i, m in enumerate(dialogue.messages):
        _print_turn(console, m)
        if isinstance(example, Conversation):
            for a in example.alternatives.get(i, ()):
                _print_reply(
                    console, a.message, verdict(a), good=a.label is True or a.rank == 1, why=a.violates
                )
    for m, said, is_good in _replies(example):
        violated = m.extra.get("violates")
        if isinstance(example, Preference) and not is_good:
            violated = example.violates
        _print_reply(console, m, said, is_good, violated)
    console.print()


def verdict(a: Alternative) -> str:
    """What an alternative is marked with.

    >>> verdict(Alternative(Message("assistant", "Hi"), rank=2))
    'rank 2'
    """
    if a.rank is not None:
        return f"rank {a.rank}"
    if a.score is not None:
        return f"score {a.score:g}"
    return f"label {'good' if a.label else 'bad'}"


def _replies(example: Example) -> list[tuple[Message, str, bool]]:
    """(reply, what is said of it, is it a best or good one) of examples that judge replies to a prompt."""
    match example:
        case Preference():
            sure = "" if example.preference == 1.0 else f", P = {example.preference:g}"
            return [(example.chosen, f"chosen{sure}", True), (example.rejected, "rejected", False)]
        case Ranking():
            scores = example.scores or [None] * len(example.ranks)
            placed = [
                (m, f"rank {r}" + ("" if s is None else f", score {s:g}"), r == example.ranks[0])
                for m, r, s in zip(example.responses, example.ranks, scores, strict=True)
            ]
            return placed + [(m, "not ranked", False) for m in example.unranked]
        case Rating():
            score = "" if example.score is None else f", score {example.score:g}"
            return [
                (
                    example.response,
                    f"label {'good' if example.desirable else 'bad'}{score}",
                    example.desirable,
                )
            ]
    return []


def _print_turn(console: Console, message: Message) -> None:
    style = COLOURS.get(message.role, "white")
    console.print(
        Padding(Text(f"{message.role}: ", style=f"bold {style}") + Text(message.content), (0, 0, 0, 2))
    )


def _print_reply(console: Console, message: Message, said: str, good: bool, why: str | None) -> None:
    colour = "green" if good else "red"
    head = Text(f"{GOOD if good else BAD} {said}: ", style=f"bold {colour}")
    console.print(Padding(head + Text(message.content), (0, 0, 0, 6)))
    if why:
        console.print(Padding(Text(f"breaks: {why}", style="italic red"), (0, 0, 0, 8)))
