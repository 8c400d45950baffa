"""``halign report``: one HTML file about training runs and judged folders, or a page that follows them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...",
            help="Folders that halign train, run, judge, compare or evaluate wrote, audits, and data, in any order.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Default: the folders' names.")] = None,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Write nothing: show the page in a browser, and follow jobs that run."),
    ] = False,
    port: Annotated[
        int,
        typer.Option(help="Of --serve, on this machine only; 0 takes one that is free.", min=0, max=65535),
    ] = 8765,
) -> None:
    """Leaderboard, every verdict, curves, settings, cost and commands, as a single file that needs nothing else.

    halign report runs/ipo runs/kto judged -o report.html

    halign report flow1-demo evaluated audit.json pairs.jsonl -o report.html

    halign report runs/ipo --serve
    """
    if serve:
        from halign.reporting.serve import serve as follow

        follow(folders, port=port, title=title, ready=lambda at: typer.echo(f"{at}   (Ctrl-C ends it)"))
        return
    from halign.reporting import report as make

    typer.echo(make(folders, title=title).save(output))
