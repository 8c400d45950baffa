"""``halign report``: one HTML file about training runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN_FOLDER...", help="Folders that halign train wrote.")
    ],
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Default: the runs' names.")] = None,
) -> None:
    """Curves, settings, checks and environment of one run or several, as a single file that needs nothing
    else.
    """
    from halign.reporting import report as make

    typer.echo(make(runs, title=title).save(output))
