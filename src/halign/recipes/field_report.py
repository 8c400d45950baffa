"""The table of the field as Markdown, JSON, a page, and on the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import yaml
from rich.table import Column, Table

from halign.evaluate import ALL
from halign.recipes.engine import Outcome
from halign.recipes.field import START, Trial
from halign.recipes.field_results import SHARES, Finding, Row, read_runs, rows
from halign.recipes.recipe import Finished
from halign.recipes.steps import read_rows
from halign.recipes.table_report import KINDS, guardrail_texts, replace_folder
from halign.reporting import Evidence, ModelEntry, Panel
from halign.reporting.svg import Bar, Spot, bars, scatter

if TYPE_CHECKING:
    from halign.recipes.field import Job

COLUMNS = {
    "reward": "true reward",
    "adherence": "guardrails kept",
    "natural": "natural",
    "supported": "nothing invented",
    ALL: "all three",
    "kl": "KL",
    "tokens": "tokens",
    "unfinished": "unfinished",
    "chosen drift": "good reply, drift",
    "worse drift": "broken reply, drift",
}

NOTE = (
    "Mean over seeds and prompts; ± is the standard deviation between seeds; in brackets the 95 % interval, in which "
    "conversations are taken as independent and not single replies. It covers the choice of prompts, not that of seeds. "
    "Reward: mean of the share of guardrails in force that are kept, natural or not, and nothing invented or something. "
    "KL: nats per reply from the start model, on own samples. Drift: mean of log pi - log pi of the start model, nats per "
    "reply, of held-out good replies, and of the same with one guardrail broken. "
    "Hindsight's chains of more than two replies end with the best one, which is then asked for first. "
    "* differs from the start model: the paired 95 % interval excludes zero."
)


@dataclass(frozen=True)
class Field:
    """What the field found: its rows, the highest reward first, and everything that was tried."""

    rows: list[Row]
    trials: list[Trial]


def publish(job: Job, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
    """Fill the output folder. Returns what was found."""
    from halign.reporting import render

    histories = list(job.settings["histories"])
    folders: dict[str, dict[int, Path]] = {}
    for (name, seed), stage in job.finals.items():
        folders.setdefault(name, {})[seed] = outcome.folders[stage.name]
    found = rows({n: read_runs(f, histories) for n, f in folders.items()}, START)
    field = Field(sorted(found, key=lambda r: -r.value("reward")), job.trials)
    output.mkdir(parents=True, exist_ok=True)
    replace_folder(outcome.folders[job.responses.name], output / "data")
    (output / "table.md").write_text(markdown(field))
    (output / "results.json").write_text(json.dumps(results(field), indent=1))
    plain = yaml.safe_dump(dict(job.settings), sort_keys=False, allow_unicode=True)
    (output / "settings.yaml").write_text(plain)
    page = render(evidence(job, field, outcome, overrides, size, plain))
    return Finished(output, page.save(output / "report.html"), field, outcome)


def results(field: Field) -> dict[str, Any]:
    """The numbers, for programs."""
    return {
        "methods": {
            r.name: {
                "setting": chosen(field, r.name),
                **r.about,
                "diverged": list(r.failed),
                **{m: f.to_dict() for m, f in r.findings.items()},
            }
            for r in field.rows
        },
        "trials": [
            {
                "method": t.method.name,
                "learning_rate": t.learning_rate,
                "strength": t.method.strength or None,
                "value": t.method.chosen_strength(t.strength),
                "reward": t.reward,
                "chosen": t.chosen,
            }
            for t in field.trials
        ],
    }


def chosen(field: Field, name: str) -> str:
    """A method's chosen setting in words; "" for the start model."""
    picked = next((t for t in field.trials if t.chosen and t.method.name == name), None)
    return "" if picked is None else setting(picked)


def setting(trial: Trial) -> str:
    """A trial's learning rate and strength in words."""
    value = trial.method.chosen_strength(trial.strength)
    own = "" if value is None else f", {trial.method.strength} {value:g}"
    return f"{trial.learning_rate:g}{own}"


def cell(measure: str, f: Finding) -> str:
    """One measure: mean, spread between seeds, interval, and a star where it differs from the start model."""
    scale, digits = (100, 0) if measure in SHARES else (1, 1 if measure == "tokens" else 2)
    if measure == "reward":
        digits = 3

    def number(x: float) -> str:
        return f"{scale * x:.{digits}f}".replace("-", "−")

    i = f.interval
    spread = "" if f.spread is None else f" ± {scale * f.spread:.{max(digits, 1)}f}"
    star = "*" if f.versus.excludes_zero else ""
    return f"{number(i.value)}{star}{spread} [{number(i.low)}, {number(i.high)}]"


def table(field: Field) -> tuple[list[str], list[list[str]]]:
    """(column names, rows of cells)."""
    head = [
        "method",
        *(f"{c} (%)" if m in SHARES else c for m, c in COLUMNS.items()),
        "gain in reward",
        "setting",
    ]
    body = []
    for r in field.rows:
        if not r.findings:
            body.append([r.name, "diverged", *[""] * len(COLUMNS), chosen(field, r.name)])
            continue
        gain = r.findings["reward"].versus
        name = r.name + (f" ({len(r.failed)} diverged)" if r.failed else "")
        shown = (
            ""
            if r.name == START
            else f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]".replace("-", "−")
        )
        body.append([name, *(cell(m, r.findings[m]) for m in COLUMNS), shown, chosen(field, r.name)])
    return head, body


def markdown(field: Field) -> str:
    """The table, and under it everything that was tried."""
    head, body = table(field)
    lines = ["# Every offline method, same model, same replies, same updates", ""]
    lines += [
        _line(head),
        _line(["---"] * len(head)),
        *map(_line, body),
        "",
        NOTE,
        "",
        "## What was tried",
        "",
    ]
    lines += [
        _line(["method", "learning rate, strength", "reward on validation prompts"]),
        _line(["---"] * 3),
    ]
    lines += [_line(c) for c in tried(field)]
    return "\n".join(lines) + "\n"


def tried(field: Field) -> list[list[str]]:
    """Rows of everything that was tried; what was chosen is marked."""
    return [
        [
            t.method.name,
            setting(t),
            ("diverged" if t.reward is None else f"{t.reward:.3f}") + (" (chosen)" if t.chosen else ""),
        ]
        for t in field.trials
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


def rich_table(field: Field) -> Table:
    """The table on a terminal: means only."""
    short = ("reward", "adherence", "natural", "supported", ALL, "kl", "chosen drift")
    shown = Table(Column("method", no_wrap=True), *(COLUMNS[m] for m in short), "setting", box=None)
    for r in field.rows:
        cells = [cell(m, r.findings[m]).split(" ")[0] for m in short] if r.findings else ["–"] * len(short)
        shown.add_row(r.name, *cells, chosen(field, r.name))
    return shown


def evidence(
    job: Job, field: Field, outcome: Outcome, overrides: Sequence[str], size: str | None, settings: str
) -> Evidence:
    """What the page shows: the field's own panels, then the report's usual sections on all replies."""
    from halign.readers import read_prompts

    folder = outcome.folders[job.data.name]
    count, histories = job.settings["test_prompts"], job.settings["histories"]
    prompts = {h: read_prompts(folder / f"prompts-test-{h}.jsonl")[:count] for h in histories}
    complete = [r for r in field.rows if not r.failed]
    models = [
        ModelEntry(
            r.name,
            _about(field, r),
            None,
            {h: [x for seed in of for x in seed] for h, of in r.replies.items()},
        )
        for r in sorted(complete, key=lambda r: r.name != START)
    ]
    words = [f"--size {size}" if size else "", *(quote(o) for o in overrides)]
    return Evidence(
        title="Every offline method, from the same model, on the same replies",
        intro=_intro(job),
        models=models,
        baseline=START,
        panels=panels(field),
        prompts=prompts,
        kinds=KINDS,
        guardrails=guardrail_texts(job.settings["world"]),
        judged_by="Replies are graded by the exact rules of the world they come from, not by a model.",
        data=_data(job, outcome),
        commands=[("Everything in this report", " ".join(" ".join(["halign run field", *words]).split()))],
        settings=settings,
        seconds=sum(outcome.seconds.values()),
    )


def panels(field: Field) -> list[Panel]:
    """The table, its charts, and what was tried."""
    head, body = table(field)
    done = [r for r in field.rows if r.findings]
    spots = [_spot(r) for r in done]
    drifts = [
        Bar(r.name, (r.findings["chosen drift"].interval.value, r.findings["worse drift"].interval.value))
        for r in done
    ]
    return [
        Panel("table", "The table", NOTE, head, body),
        Panel(
            "frontier",
            "Reward against distance",
            "Higher is better, further left is cheaper. Crosses are 95 % intervals.",
            charts=[
                scatter(
                    spots,
                    "true reward by KL",
                    "KL from the start model, nats per reply",
                    "true reward",
                    size=(960, 520),
                )
            ],
        ),
        Panel(
            "drift",
            "Where the probability went",
            "Upper bar: good replies of held-out conversations; lower bar: the same with one guardrail broken. Below zero, "
            "the model has become less likely to say them than the start model was: a method can raise the reward and "
            "lower both.",
            charts=[
                bars(
                    drifts,
                    "drift of good and broken replies",
                    "log pi − log pi of the start model, nats",
                    ("c2", "c5"),
                )
            ],
        ),
        Panel(
            "tried",
            "What was tried",
            "Every method had as many tries, scored on validation prompts, never on test prompts.",
            ["method", "learning rate, strength", "reward on validation prompts"],
            tried(field),
            folded=True,
        ),
    ]


def _spot(r: Row) -> Spot:
    kl, reward = r.findings["kl"].interval, r.findings["reward"].interval
    css = "c0" if r.name == START else "c1"
    return Spot(r.name, kl.value, reward.value, (kl.low, kl.high), (reward.low, reward.high), css)


def _about(field: Field, row: Row) -> str:
    if row.name == START:
        return "what every method starts from"
    return f"learning rate {chosen(field, row.name)}; {row.about['items']} items, {row.about['batch_items']} a step"


def _intro(job: Job) -> str:
    s = job.settings
    return (
        f"All methods start from one model, which has imitated {s['sft_conversations']} conversations. All learn from the "
        f"same replies with their true rewards, told in the form that each method takes, in {s['updates']} updates and one "
        "pass (what does not fill an update is left out). Learning rate and strength were chosen on validation prompts with "
        "as many tries for each."
    )


def _data(job: Job, outcome: Outcome) -> list[tuple[str, str]]:
    ranked = read_rows(outcome.folders[job.responses.name] / "rankings.jsonl")
    replies: list[Mapping[str, Any]] = [x for r in ranked for x in r["responses"]]
    right = sum(x["score"] == 1.0 for x in replies)
    return [
        (
            "Prompts to learn from",
            f"{len(ranked):,}, of {len({r['conversation'] for r in ranked}):,} conversations",
        ),
        ("Replies to them", f"{len(replies):,}, of which {right:,} are right in all respects"),
        ("Seeds", ", ".join(map(str, job.settings["seeds"]))),
    ]
