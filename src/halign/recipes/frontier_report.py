"""The frontier's page: plots, the tables under them, how to do it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import yaml
from rich.table import Table

from halign.recipes import frontier_plots as plots
from halign.recipes.engine import Outcome
from halign.recipes.frontier_numbers import numbers
from halign.recipes.recipe import Finished
from halign.reporting import Evidence, Panel
from halign.reporting.figures import figure, save

if TYPE_CHECKING:
    from halign.recipes.frontier import Job

Numbers = Mapping[str, Any]
Rows = list[list[str]]

INTERVALS = (
    "In brackets 95 % intervals; conversations are taken as independent, not single replies. They cover the choice of test "
    "prompts and the draw of replies, and seeds only as far as these differ. "
)
FRONTIER = (
    "Each point is one strength of one method, seeds pooled. KL is the mean of log π − log π_start over the model's own "
    "replies at temperature 1, drawn from the model itself: an unbiased estimate of KL(π‖π_start) per reply, which may fall"
    " below zero by chance. Gain: reward less the start model's mean reward at the same prompts. The optimum π* ∝ π_start "
    "exp(r/β) is what no method can beat at its KL; it is estimated from a pool of the start model's samples for each "
    "prompt by self-normalised importance weights, jackknifed, as far as the effective sample size reaches. Best of n is "
    "the exact mean over all subsets of the same pool; its KL is an upper bound, log n − (n − 1)/n, so its true place is at"
    " or left of where it is drawn. "
)
HEAT = (
    "Each method at the strength that did best on validation prompts, at every sampling temperature, against the start "
    "model at temperature 1: the share of the start model's pool for the same prompt whose true reward is lower, ties half."
    " The start model's own replies are drawn apart from the pool, so at temperature 1 it stands at one half but for "
    "chance. At temperature 0 there is one reply to a prompt. "
)
OVER = (
    "A reward model has learnt from rankings of the start model's replies by their true reward; a loop then maximises it "
    "without a KL penalty, and best of n and π* pick by it. Left, what they maximise; right, what that is worth. Where the "
    "left curve rises and the right one does not follow, the learned reward is over-optimised (Gao et al. 2022, arXiv "
    "2210.10760). "
)


def publish(job: Job, output: Path, outcome: Outcome, overrides: Sequence[str], size: str | None) -> Finished:
    """Fill the output folder. Returns what was found."""
    from halign.reporting import render

    found = numbers(job, outcome)
    output.mkdir(parents=True, exist_ok=True)
    plain = yaml.safe_dump(dict(job.settings), sort_keys=False, allow_unicode=True)
    (output / "settings.yaml").write_text(plain)
    (output / "frontier.json").write_text(json.dumps(found, indent=1))
    words = ["halign run frontier", f"--size {size}" if size else "", *(quote(o) for o in overrides)]
    page = Evidence(
        title="The frontier: true reward against KL",
        intro=intro(found),
        models=[],
        panels=panels(found, output),
        commands=[("Everything in this report", " ".join(w for w in words if w))],
        settings=plain,
        seconds=sum(outcome.seconds.values()),
    )
    return Finished(output, render(page).save(output / "report.html"), found, outcome)


def intro(found: Numbers) -> str:
    """What was done, with its sizes."""
    b, n, p = found["budget"], found["samples"], found["prompts"]
    seeds = f" with each of {len(n['seeds'])} seeds" if len(n["seeds"]) > 1 else ""
    return (
        f"All methods start from one model and spend the same: {b['prompts']} prompts, {b['samples']} replies to each, "
        f"{b['updates']} updates of the optimiser. Offline methods learn from the start model's ranked replies, loops from their "
        f"own. All are asked {p['count']} held-out prompts of {p['conversations']} conversations, {n['test']} replies to each"
        f"{seeds}; the pool holds {n['pool']} replies of the start model to each."
    )


def panels(found: Numbers, output: Path) -> list[Panel]:
    """The plots, each with its tables; SVG and PNG files are written into the folder."""
    accuracy = cell(found["learned"]["accuracy"], 3)
    large = save(figure(plots.frontier(found), 9.4, 6.2), output, "frontier")
    near = save(figure(plots.gain(found), 9.4, 6.2), output, "gain")
    warm = save(figure(plots.temperature(found), 9.4, 5.0), output, "temperature")
    goodhart = save(figure(plots.over(found), 5.6, 4.6), output, "overoptimisation")
    return [
        Panel(
            "frontier",
            "True reward against KL",
            FRONTIER + INTERVALS,
            *methods_table(found),
            charts=[large, near],
        ),
        Panel(
            "cost",
            "What each point spent, and more of its replies",
            "Replies that were cut off are not learnt from offline and in rounds, so that there may be a few fewer.",
            *cost_table(found),
            folded=True,
        ),
        Panel("best", "Best of n", "Chosen by the true reward, and by the reward model.", *best_table(found)),
        Panel(
            "ideal", "The optimum", "As far as the pool reaches.", *ideal_table(found["ideal"]), folded=True
        ),
        Panel(
            "temperature", "Win rate over temperature", HEAT + INTERVALS, *heat_table(found), charts=[warm]
        ),
        Panel(
            "over",
            "Maximising a learned reward",
            f"{OVER}It orders two replies of the start model to a test prompt as the truth does with probability {accuracy}. "
            f"{INTERVALS}",
            *over_table(found),
            charts=[goodhart],
        ),
        Panel(
            "ideal-learned",
            "The optimum of the learned reward",
            "Gains over the start model, in true reward and in logits of the reward model.",
            *ideal_table(found["learned"]["ideal"]),
            folded=True,
        ),
    ]


def number(x: float, digits: int = 3, sign: bool = False) -> str:
    """A number for people.

    >>> number(-0.0512), number(0.25, 2, sign=True)
    ('−0.051', '+0.25')
    """
    shown = round(x, digits) + 0.0  # no negative zero
    return f"{shown:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def cell(of: Mapping[str, float], digits: int = 3, sign: bool = False) -> str:
    """Value and interval."""
    value, low, high = (number(of[k], digits, sign) for k in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def methods_table(found: Numbers) -> tuple[list[str], Rows]:
    """A row for the start model and for every point."""
    head = ["model", "strength", "true reward", "gain", "KL (nats)", "of the optimum's gain at this KL"]
    rows = [["start", "", cell(found["start"]["reward"]), *[""] * 3]]
    for name, method in found["methods"].items():
        for p in method["points"]:
            strength = f"{method['strength']} {p[method['strength']]:g}"
            strength += " (chosen)" if p[method["strength"]] == method["chosen"] else ""
            if "reward" not in p:
                rows.append([name, strength, "diverged", *[""] * 3])
                continue
            share = "–" if p["of_ideal"] is None else f"{100 * p['of_ideal']:.0f} %"
            row = [name, strength, cell(p["reward"]), cell(p["gain"], 3, True), cell(p["kl"]), share]
            rows.append(row)
    return head, rows


def cost_table(found: Numbers) -> tuple[list[str], Rows]:
    """What each point spent, and how long its replies are."""
    head = [
        "model",
        "strength",
        "updates",
        "replies learnt from or drawn",
        "seconds to train, all seeds",
        "seeds diverged",
    ]
    head += ["win rate", "tokens a reply", "replies cut off"]
    rows = []
    for name, method in found["methods"].items():
        for p in method["points"]:
            row = [name, f"{method['strength']} {p[method['strength']]:g}"]
            row += [str(p["spent"][k]) if "spent" in p else "–" for k in ("updates", "replies")]
            row += [f"{p['seconds']:.0f}", str(len(p["diverged"]))]
            if "win_rate" in p:
                row += [cell(p["win_rate"]), cell(p["tokens"], 1), f"{100 * p['unfinished']:.1f} %"]
            rows.append(row)
    return head, rows


def best_table(found: Numbers) -> tuple[list[str], Rows]:
    """A row for each n."""
    head = ["n", "KL at most (nats)", "true reward", "gain", "gain, chosen by the reward model"]
    head += ["gain in learned reward (logits)"]
    return head, [
        [
            str(r["n"]),
            number(r["kl_bound"]),
            cell(r["reward"]),
            cell(r["gain"], 3, True),
            cell(r["by_learned"]["gain"], 3, True),
            cell(r["by_learned"]["learned_gain"], 3, True),
        ]
        for r in found["best_of_n"]
    ]


def ideal_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Rows]:
    """A row for each beta."""
    head = ["β", "KL (nats)", "true reward", "gain", "effective sample size"]
    proxy = any("learned_gain" in r for r in rows)
    body = [
        [
            f"{r['beta']:.3g}",
            cell(r["kl"]),
            cell(r["reward"]),
            cell(r["gain"], 3, True),
            f"{r['effective']:.1f}",
            *([cell(r["learned_gain"], 3, True)] if proxy else []),
        ]
        for r in rows
    ]
    return [*head, *(["gain in learned reward (logits)"] if proxy else [])], body


def heat_table(found: Numbers) -> tuple[list[str], Rows]:
    """A row for each model, a column for each temperature."""
    heats = [r["temperature"] for r in found["temperature"]["start"]]
    rows = []
    for name, of in found["temperature"].items():
        m = found["methods"].get(name)
        label = name if m is None else f"{name}, {m['strength']} {m['chosen']:g}"
        rows.append([label, *(cell(r["win_rate"]) for r in of)])
    return ["model", *(f"temperature {t:g}" for t in heats)], rows


def over_table(found: Numbers) -> tuple[list[str], Rows]:
    """A row for each point of the loop against the reward model."""
    head = [
        "updates",
        "KL (nats)",
        "gain in learned reward (logits)",
        "gain in true reward",
        "true reward",
        "tokens",
    ]
    return [f"{found['learned']['loop']}: {head[0]}", *head[1:]], [
        [
            str(p["updates"]),
            cell(p["kl"]),
            cell(p["learned_gain"], 3, True),
            cell(p["gain"], 3, True),
            cell(p["reward"]),
            cell(p["tokens"], 1),
        ]
        for p in found["learned"]["points"]
    ]


def rich_table(found: Numbers) -> Table:
    """The methods on a terminal."""
    shown = Table("model", "strength", "true reward", "gain", "KL", "of the optimum", box=None)
    for row in methods_table(found)[1]:
        shown.add_row(*row[:6])
    for r in found["best_of_n"]:
        shown.add_row(
            "best of n",
            f"n {r['n']}",
            cell(r["reward"]),
            cell(r["gain"], 3, True),
            f"≤ {number(r['kl_bound'])}",
            "",
        )
    return shown
