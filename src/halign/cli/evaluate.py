"""``halign evaluate``: a model on sets of questions, scored, with intervals, and against the model before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from halign.cli import model_options as m
from halign.cli import outputs as o
from halign.cli.samplers import refuse, sampler_at, sampler_here
from halign.errors import HalignError

AT = "With --endpoint: "


def evaluate(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Folder, run folder or hub name; with --endpoint its name there; or a file of stored outputs.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Settings of the sets: shots=0, or gsm8k.shots=0 for one."
        ),
    ] = None,
    suite: Annotated[
        list[str] | None, typer.Option(help="Which sets, separated by commas; give it as often as you like.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder to write, and to go on in.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="The set's file, or a folder of such files. Default: $HALIGN_DATA.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first questions of each set.", min=1)] = None,
    before: Annotated[
        str | None, typer.Option(help="The model before: evaluated too, and what changed since.")
    ] = None,
    judge: Annotated[str | None, typer.Option(help=f"Of sets that ask one: {o.JUDGE_HELP}")] = None,
    judge_explain: Annotated[
        bool, typer.Option("--judge-explain", help="Of yes-or-no questions: a reason before every answer.")
    ] = False,
    judge_samples: o.Draws = None,
    judge_key_env: o.KeyEnv = None,
    judge_concurrency: o.Concurrency = None,
    judge_input_price: o.InputPrice = None,
    judge_output_price: o.OutputPrice = None,
    judge_budget: o.Budget = None,
    baseline: Annotated[
        Path | None, typer.Option(help="Stored outputs (instruction, output, generator) to compare with.")
    ] = None,
    run_code: Annotated[
        bool, typer.Option("--run-code", help="Run programs that the model writes, in a sandbox with limits.")
    ] = False,
    name: Annotated[
        str | None, typer.Option(help="What to call the model. Default: its folder's name.")
    ] = None,
    prefix: m.Prefix = None,
    device: m.Device = None,
    quantize: m.Quantize = None,
    engine: m.Engine = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server that MODEL is behind.")
    ] = None,
    key_env: Annotated[str | None, typer.Option(help=f"{AT}environment variable that holds the key.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(help=f"{AT}requests in flight at most. Default: 8.", min=1)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again where the folder was begun with other settings.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="Show the sets there are.")] = False,
) -> None:
    """Evaluate a model on sets of questions: sample replies, score them, and say how sure the numbers are.

    The same command after an interruption goes on where it stopped. Each set's folder is a folder of verdicts, which
    [bold]halign report[/bold] reads; OUTPUT/results.json holds all numbers.

    halign evaluate runs/dpo --suite gsm8k,xstest --output results
    """
    from halign.setting_words import parse_overrides
    from halign.suites import Job
    from halign.suites import evaluate as run

    if list_all:
        _list(Console())
        return
    if model is None or not suite or output is None:
        raise HalignError("halign evaluate MODEL --suite NAME[,NAME] --output FOLDER; --list shows the sets")
    suites = list(dict.fromkeys(s.strip() for words in suite for s in words.split(",") if s.strip()))
    remote_judge = o.remote(
        judge_key_env, judge_concurrency, judge_input_price, judge_output_price, judge_budget
    )
    if judge is None:
        given = {"explain": judge_explain, "samples": judge_samples, **remote_judge}
        refuse({f"judge_{k}": v for k, v in given.items()}, "without --judge")
    asked = judge and o.judge_of(judge, None, judge_explain, judge_samples, remote_judge, "judge-")
    here = {"prefix": prefix, "device": device, "quantize": quantize, "engine": engine}
    remote = {"key_env": key_env, "concurrency": concurrency}
    if endpoint:
        refuse(here, "with --endpoint")
    else:
        refuse(remote, "without --endpoint")
    subjects = [
        _subject(m, name if i == 0 else None, endpoint, remote, here)
        for i, m in enumerate((model, before))
        if m
    ]
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        told = {s: _watch(bar, s) for s in suites}
        job = Job(
            data=data,
            limit=limit,
            judge=asked,
            baseline=baseline,
            run_code=run_code,
            overwrite=overwrite,
            command=o.command(),
            told=told,
        )
        results = run(
            subjects[0],
            suites,
            output=output,
            before=subjects[1] if before else None,
            job=job,
            settings=parse_overrides(settings or ()),
        )
    typer.echo(results.table())
    typer.echo(f"\n{output}")


def _subject(
    model: str, name: str | None, endpoint: str | None, remote: dict[str, Any], here: dict[str, Any]
) -> Any:
    """A model behind the endpoint, a file of stored outputs, or a model here, loaded when it is needed."""
    from halign.suites import Subject
    from halign.suites.subject import subject

    if endpoint:
        return Subject(name or model, sampler_at(endpoint, model, **remote))
    if Path(model).is_file():
        refuse(here, "with stored outputs")
        return subject(model, name)
    sampler = sampler_here(
        model, here["prefix"], here["device"], here["quantize"], here["engine"] or "transformers"
    )
    called = name or (Path(model).resolve().name if Path(model).exists() else model)
    return subject(sampler, called, folder=Path(model))


def _watch(bar: Progress, suite: str) -> Callable[[int, int], None]:
    task = bar.add_task(suite, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)


def _list(console: Console) -> None:
    from halign.suites import find, names

    table = Table(box=None, pad_edge=False)
    for head in ("suite", "what", "judge", "files"):
        table.add_column(head, overflow="fold")
    for name in names():
        suite = find(name)
        files = ", ".join(f.names[0] if f.names else "your own (--data)" for f in suite.files.values())
        table.add_row(name, suite.summary, suite.judge, files)
    console.print(table)
