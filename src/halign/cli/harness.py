"""``halign harness MODEL``: tasks of lm-evaluation-harness, answered by the prefix-sharing engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from halign.cli import model_options as m


def harness(
    model: Annotated[str, typer.Argument(help="Folder, run folder or hub name.")],
    tasks: Annotated[
        str,
        typer.Option(
            help="Names, with commas: lm_eval's, your own, or local_truthfulqa_mc1, local_bbh_choices ..."
        ),
    ],
    num_fewshot: Annotated[
        int | None, typer.Option(help="Examples before each question. Default: what each task says.", min=0)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first questions of each task.", min=1)] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for results.json and, per task, every question with its answers."),
    ] = None,
    include_path: Annotated[Path | None, typer.Option(help="Folder with YAML files of tasks.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the files that local tasks read. Default: $HALIGN_DATA.")
    ] = None,
    chat_template: Annotated[
        bool, typer.Option(help="Put questions into the model's chat template.")
    ] = False,
    max_tokens: Annotated[int, typer.Option(help="Distinct tokens in one forward pass.", min=1)] = 4096,
    dtype: Annotated[str, typer.Option(help="fp32, or bf16.")] = "fp32",
    device: m.Device = None,
    seed: Annotated[int, typer.Option(help="For tasks that ask for sampling.", min=0)] = 0,
) -> None:
    """Measure a model on tasks of lm-evaluation-harness: its questions, its measures, its numbers. What questions and choices
    have in common is read once.

    halign harness MODEL --tasks hellaswag,arc_easy --num-fewshot 5 --output runs/eval
    """
    from halign.harness.run import require_lm_eval
    from halign.harness.run import table as rows_of

    require_lm_eval()
    import torch
    from rich.console import Console
    from rich.table import Table

    from halign.harness.run import harness as run
    from halign.models import load

    results = run(
        load(model, device=device or ("cuda" if torch.cuda.is_available() else None)),
        [name.strip() for name in tasks.split(",") if name.strip()],
        num_fewshot=num_fewshot,
        limit=limit,
        include_path=include_path,
        data=data,
        output=output,
        chat_template=chat_template,
        max_tokens=max_tokens,
        dtype=dtype,
        seed=seed,
    )
    table = Table("task", "measure", "value", "± standard error")
    for task, measure, value, error in rows_of(results):
        table.add_row(task, measure, f"{value:.4f}", "" if error is None else f"{error:.4f}")
    Console().print(table)
    if output is not None:
        typer.echo(f"written: {output}")
