"""``halign compare A B [C ...]``: which of several models answers better, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from halign.cli import model_options as m
from halign.cli import outputs as o
from halign.errors import HalignError


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]", help="Models (folder, run folder, hub name), or replies: NAME=FILE.jsonl."
        ),
    ],
    prompts: Annotated[
        str | None,
        typer.Option(help="Prompts, or any data. Default: of stored replies theirs, else the care world's."),
    ] = None,
    judge: Annotated[str, typer.Option(help=o.JUDGE_HELP)] = "care",
    rubric: o.Rubrics = None,
    explain: o.Explain = False,
    samples: o.Draws = None,
    interval: Annotated[
        float | None,
        typer.Option(
            help="Half-width of every pair's advantage to reach; judging stops there. Default: every pair on every prompt."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many prompts at most.", min=2)] = 300,
    temperature: m.Temperature = 1.0,
    max_new_tokens: m.LongestReply = 200,
    seed: Annotated[int, typer.Option(help="For prompts and draws.", min=0)] = 0,
    key_env: o.KeyEnv = None,
    concurrency: o.Concurrency = None,
    input_price: o.InputPrice = None,
    output_price: o.OutputPrice = None,
    budget: o.Budget = None,
    chunk: Annotated[int, typer.Option(help="Comparisons between two looks at the intervals.", min=1)] = 32,
    correction: o.Correction = "holm",
    output: Annotated[Path | None, typer.Option(help="Judged folder to write, and to go on from.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Start that folder anew.")] = False,
    report: Annotated[Path | None, typer.Option(help="Also write the comparison as an HTML file.")] = None,
) -> None:
    """Let models answer the same prompts and count verdicts, in both orders, with 95 % intervals clustered by conversation.

    halign compare base.jsonl tuned.jsonl --judge checks --output judged
    """
    from halign.evaluate import compare_all
    from halign.progress import Display

    o.check_correction(correction)
    remote = o.remote(key_env, concurrency, input_price, output_price, budget)
    asked = o.judge_of(judge, rubric, explain, samples, remote)
    if overwrite and output is None:
        raise HalignError("--overwrite would have no effect without --output: leave it out")
    places = _places(models)
    dialogues, answers = _answers(places, prompts, limit, seed)
    with Display() as display:
        display.phase("comparing", len(dialogues))
        standing = compare_all(
            answers,
            dialogues,
            judge=asked,
            interval=interval,
            chunk=chunk,
            output=output,
            overwrite=overwrite,
            command=o.command(),
            watch=display.advance,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            seed=seed,
        )
    typer.echo(standing.table(correction))
    if getattr(asked, "client", None) is not None:
        typer.echo(asked.client.spent)
    if report is not None:
        from halign.reporting import report as make

        shown = [c for c in standing.comparisons.values() if c.dimensions]
        typer.echo(make([], *shown, title=" against ".join(places)).save(report))


def _places(models: list[str]) -> dict[str, str]:
    """Name -> place; a model may be compared with itself.

    Raises:
        HalignError: there are fewer than two.
    """
    if len(models) < 2:
        raise HalignError("compare takes two models or more: halign compare A B")
    if len(models) == 2 and models[0] == models[1] and "=" not in models[0]:
        return {f"{models[0]} (A)": models[0], f"{models[1]} (B)": models[1]}
    return o.named(models)


def _answers(
    places: dict[str, str], prompts: str | None, limit: int, seed: int
) -> tuple[list[Any], dict[str, Any]]:
    """Prompts, and for every model its replies to them, or what gives them.

    Raises:
        HalignError: prompts beside stored replies, or stored replies to prompts that are not the same.
    """
    from halign.judges.records import HISTORIES
    from halign.readers import read_prompts
    from halign.worlds import care

    answered = o.stored(places)
    if answered is not None:
        if prompts is not None:
            raise HalignError("--prompts would have no effect beside stored replies: leave it out")
        items = answered.items[:limit]
        if any(HISTORIES in i.meta for i in items):
            raise HalignError(
                "in these conversations each model has its own earlier turns, and compare takes one prompt for all: "
                "halign judge A B --mode compare, then halign rate"
            )
        asked = [i.dialogue for i in items]
    elif prompts is None:
        items, asked = [], care.test_prompts(limit, split="test", seed=seed)
    else:
        items, asked = [], read_prompts(prompts)[:limit]
    new = o.samplers(places)
    return asked, {name: new[name] if name in new else [i.replies[name] for i in items] for name in places}
