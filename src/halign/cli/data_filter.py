"""``halign data filter``: keep the rows that are good enough."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console

from halign.cli.data_output import print_outcome
from halign.cli.options import Dropped, File, Output, Overwrite, Reading, Remote, asks, reads
from halign.cli.pace import Pace
from halign.cli.samplers import refuse
from halign.errors import HalignError

AT = "With --judge: "


class Over(StrEnum):
    MIN = "min"
    MEAN = "mean"
    MAX = "max"


@reads
@asks("--judge")
def filter(
    file: File,
    output: Output,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Condition, may be repeated: [bold]\"words >= 5 and not matches('as an AI')\"[/bold]. Of the response: words,"
            " characters, repeats, letters (shares, 0 to 1), matches(RE); else prompt_words, turns, guardrails, label ('good',"
            " 'bad'), score, grade, prompt_matches(RE), column(NAME).",
            show_default=False,
        ),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(help="What grades: care (its rules), a reward model, or package.module:function."),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Address of an OpenAI-compatible server whose model grades from 0 to 5."),
    ] = None,
    above: Annotated[
        float | None,
        typer.Option(help="With --reward or --judge: keep grades of this or more. AlpaGasus: 4.5."),
    ] = None,
    over: Annotated[
        Over, typer.Option(help="Which grade of a conversation's agent turns counts.")
    ] = Over.MIN,
    model: Annotated[str | None, typer.Option(help=f"{AT}the model's name there.")] = None,
    criteria: Annotated[
        str | None, typer.Option(help=f"{AT}what is graded. Default: accuracy (AlpaGasus).")
    ] = None,
    dropped: Dropped = False,
    overwrite: Overwrite = False,
    *,
    remote: Remote,
    reading: Reading,
) -> None:
    """Keep the rows for which every condition holds and whose responses are graded high enough; grades stay in the rows.

    Of a conversation every agent turn is graded, of a pair, ranking or rating the best response. Answers of a judge are cached:
    the same command after an interruption pays for nothing twice.

    halign data filter pairs.jsonl good.jsonl --reward runs/rm --above 0
    """
    from halign.curation.conditions import Condition
    from halign.curation.filter import ByJudge, ByReward, keep
    from halign.curation.source import check_output
    from halign.rewards.find import find_reward

    asked = {"model": model, "criteria": criteria}
    if judge is None:
        refuse({**asked, **remote.given()}, "without --judge")
    if judge is not None and reward is not None:
        raise HalignError("--judge and --reward both grade: name one of them")
    check_output(output, overwrite, file)
    source = reading.source(file)
    grader: Any = None
    settings: dict[str, Any] = {}
    note: Callable[[], str] = str
    if judge is not None:
        scorer = _scorer(judge, {**asked, **remote.settings()})
        grader = ByJudge(scorer)
        settings = {"judge": judge, "model": model, "criteria": scorer.criteria}
        if remote.dry_run:
            typer.echo(grader.dry_run(source, [Condition(text) for text in where or ()]))
            return
        note = partial(_spent, scorer.client.spent)
    elif reward is not None:
        grader, settings = ByReward(find_reward(reward)), {"reward": reward}
    try:
        outcome = keep(
            source,
            output,
            conditions=where or (),
            grader=grader,
            above=above,
            over=over.value,
            settings=settings,
            dropped=dropped,
            watch=Pace(note=note),
        )
    finally:
        if judge is not None:
            typer.echo(scorer.client.spent)
    print_outcome(Console(), file, output, outcome, source.skipped, dropped)


def _spent(ledger: Any) -> str:
    return f"cost {ledger.cost:,.4g}" if ledger.cost is not None else f"{ledger.calls:,} calls"


def _scorer(url: str, given: dict[str, Any]) -> Any:
    """The language model that grades, with AlpaGasus's question.

    Raises:
        HalignError: if no model is named, or a budget has no prices.
    """
    from halign.curation.filter import ALPAGASUS, SCALE
    from halign.judges import DirectScorer
    from halign.llm import Client, Endpoint

    options = {k: v for k, v in given.items() if v is not None}
    if "model" not in options:
        raise HalignError("--judge needs --model, the model's name there")
    criteria, budget = options.pop("criteria", "accuracy"), options.pop("budget", None)
    client = Client(Endpoint(url, **options), budget=budget)
    return DirectScorer(client, criteria=criteria, template=ALPAGASUS, scale=SCALE)
