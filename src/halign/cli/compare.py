"""``halign compare A B``: which of two models answers better, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Model: folder, run folder or hub name.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other model.")],
    prompts: Annotated[
        str | None, typer.Option(help="Prompts, or any data. Default: the care world's.")
    ] = None,
    judge: Annotated[str, typer.Option(help='"care", or "package.module:name" of a judge.')] = "care",
    limit: Annotated[int, typer.Option(help="How many prompts at most.", min=2)] = 300,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token, always.", min=0)] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest reply, in tokens.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="For prompts and draws.", min=0)] = 0,
    report: Annotated[Path | None, typer.Option(help="Also write the comparison as an HTML file.")] = None,
) -> None:
    """Let two models answer the same prompts and count verdicts, with 95 % intervals clustered by
    conversation.
    """
    from halign.evaluate import compare as run
    from halign.models import load
    from halign.readers import read_prompts
    from halign.recipes.steps import find_judge
    from halign.worlds import care

    if prompts is None:
        asked = care.test_prompts(limit, split="test", seed=seed)
    else:
        asked = read_prompts(prompts)[:limit]
    result = run(
        load(a),
        load(b),
        asked,
        judge=find_judge("care", None) if judge == "care" else find_judge(None, judge),
        names=(a, b),
        conversations=[str(p.meta["conversation"]) for p in asked],
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    typer.echo(result.table())
    if report is not None:
        from halign.reporting import report as make

        typer.echo(make([], result, title=f"{a} against {b}").save(report))
