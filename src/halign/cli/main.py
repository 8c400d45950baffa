"""The ``halign`` command: one sub-command per file of this folder."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", pretty_exceptions_enable=False)


def main() -> None:
    """Entry point: prints a HalignError as one message without a traceback, exit code 2."""
    app()
