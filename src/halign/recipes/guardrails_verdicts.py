"""Verdicts of the guardrails recipe: a row for each rule that was asked of each reply, and the shares that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halign.builders.guardrails.contract import Verdict
from halign.evaluate import Interval, difference, share
from halign.recipes.guardrails_data import ASKED, GIVEN, PROMPTS, Asked, resolved
from halign.recipes.guardrails_llm import paid
from halign.recipes.origins import Inputs, Report
from halign.recipes.steps import read_rows

if TYPE_CHECKING:
    from halign.builders import Tools
    from halign.builders.guardrails.contract import Guardrail, Turn
    from halign.builders.guardrails.policy import Policy

SILENT_NAME = "silent"
"""Under which name the verdicts on ``SILENT`` stand beside those on models."""


def judge(
    output: Path,
    *,
    inputs: Inputs,
    progress: Report,
    threads: int,
    policy: str | None,
    build: Mapping[str, Any],
    llm: Mapping[str, Any],
    seed: int,
) -> None:
    """For every model and for ``SILENT``: ``verdicts/NAME.jsonl``, a row for each rule asked; for models also
    ``NAME/given.jsonl`` of ``evaluate.Reply`` rows, as a table's judge leaves them.
    """
    from halign.builders.guardrails import prepare
    from halign.builders.guardrails.judging import SILENT
    from halign.readers import write_rows

    folder = inputs["data"]
    settings = resolved(build, seed, folder / policy if policy else None)
    asked = [_turn(row, prepare(settings)) for row in _with_prompts(folder)]
    names = [n for n in inputs if n != "data"]
    with paid(llm, output, folder) as given:
        tools = replace(given, skip_failed=settings.skip_failed)
        for done, name in enumerate([*names, SILENT_NAME]):
            rows = (
                read_rows(inputs[name] / f"{GIVEN}.jsonl")
                if name in names
                else [{"text": SILENT}] * len(asked)
            )
            found, verdicts = verdicts_on(asked, [r["text"] for r in rows], tools, settings.verdict)
            write_rows(verdicts, output / "verdicts" / f"{name}.jsonl")
            if name in names:
                write_rows(_graded(rows, found), output / name / f"{GIVEN}.jsonl")
            progress(done + 1, len(names) + 1, name)


def _graded(
    rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """A model's answers with their grades."""
    from halign.builders.guardrails.judging import grade
    from halign.evaluate import Reply

    for r, f in zip(rows, found, strict=True):
        reply = Reply(r["conversation"], r["text"], grade(f), len(r["ids"]), r["finished"], r["kl"])
        yield reply.to_dict()


Turned = tuple[str, "Turn", list["Guardrail"]]
"""(conversation, where the reply stands, the rules that are asked)."""


def verdicts_on(
    asked: Sequence[Turned], replies: Sequence[str], tools: Tools, least: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(for each reply, text of a rule -> what was found; a row for each rule asked)."""
    from halign.builders.guardrails.judging import Question, find, forbids

    places = [(i, g) for i, (_, _, rules) in enumerate(asked) for g in rules]
    found = find([Question(g, asked[i][1], replies[i]) for i, g in places], tools, least)
    of_reply: list[dict[str, Any]] = [{} for _ in asked]
    rows = []
    for (i, g), f in zip(places, found, strict=True):
        of_reply[i][g.text] = f
        said = {"conversation": asked[i][0], "prompt": i, "rule": g.id, "text": g.text}
        rows.append({**said, "forbids": forbids(g), "verdict": str(f.verdict), "by": f.by})
    return of_reply, rows


def _with_prompts(folder: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    from halign.readers import read_prompts

    return zip(read_rows(folder / ASKED), read_prompts(folder / PROMPTS), strict=True)


def _turn(asked: Asked, policy: Policy | None) -> Turned:
    """A row of asked-test.jsonl with its prompt, as it is judged; rules of a policy are found there, with their checks."""
    from halign.builders.guardrails.contract import Turn
    from halign.builders.guardrails.policy import of_text

    row, prompt = asked
    known = {g.id: g for g in policy.guardrails} if policy else {}
    rules = [known.get(r["id"]) or of_text(r["text"]) for r in row["rules"]]
    return row["conversation"], Turn(prompt.messages, row["good"]), [g for g in rules if g is not None]


Row = Mapping[str, Any]
"""One verdict: conversation, prompt (its number), rule, text, forbids, verdict, by."""


@dataclass(frozen=True)
class Tally:
    """What became of the rules that one model was asked about.

    Attributes:
        kept, broken, open: their shares of all that was asked; they sum to 1. Intervals are clustered by conversation.
        judged: how many verdicts a language model gave, not a check.
        gain: kept, minus the start model's at the same rules and turns; None for that model itself and where all that was asked
            is of one conversation.
        more_broken: the same of what is broken: who says more can keep and break more.
    """

    kept: Interval
    broken: Interval
    open: Interval
    judged: int
    gain: Interval | None = None
    more_broken: Interval | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        shares = {k: getattr(self, k).to_dict() for k in ("kept", "broken", "open")}
        paired = {k: i.to_dict() if (i := getattr(self, k)) else None for k in ("gain", "more_broken")}
        return {**shares, "judged": self.judged, **paired}


def tally(rows: Sequence[Row], base: Sequence[Row] | None = None) -> Tally:
    """The shares of verdicts, and the gain over those on the start model's replies.

    Raises:
        ValueError: the two were not asked the same.
    """
    clusters = [r["conversation"] for r in rows]
    found = {v: [r["verdict"] == v for r in rows] for v in Verdict}
    gain = more_broken = None
    if base is not None:
        if [(r["prompt"], r["rule"]) for r in rows] != [(r["prompt"], r["rule"]) for r in base]:
            raise ValueError("verdicts to be paired must be on the same rules at the same turns")
        if len(set(clusters)) > 1:
            gain, more_broken = (
                difference(found[v], [r["verdict"] == v for r in base], clusters, scale=(0.0, 1.0))
                for v in (Verdict.KEPT, Verdict.BROKEN)
            )
    kept, broken, left = (share(found[v], clusters) for v in (Verdict.KEPT, Verdict.BROKEN, Verdict.OPEN))
    return Tally(kept, broken, left, sum(r["by"] == "judge" for r in rows), gain, more_broken)


def groups(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Places of the verdicts on what rules ask for, on what they forbid, and on both, as far as there are any of each."""
    duties = [i for i, r in enumerate(rows) if not r["forbids"]]
    bans = [i for i, r in enumerate(rows) if r["forbids"]]
    found = {DUTIES: duties, BANS: bans, "all": [*range(len(rows))] if duties and bans else []}
    return {name: places for name, places in found.items() if places}


DUTIES, BANS = "asked for", "forbidden"


def rules(rows: Sequence[Row]) -> dict[str, list[int]]:
    """Id of a rule -> places of the verdicts on it; duties first, then those asked most often."""
    found: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        found.setdefault(row["rule"], []).append(i)
    return dict(sorted(found.items(), key=lambda f: (rows[f[1][0]]["forbids"], -len(f[1]), f[0])))


def picked(rows: Sequence[Row], places: Sequence[int]) -> list[Row]:
    """The rows at these places."""
    return [rows[i] for i in places]
