"""The ``halign`` command: one sub-command per file of this folder."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any

import typer
from typer.core import TyperGroup

import halign
from halign.cli import (
    audit,
    chat,
    compare,
    converse,
    data_commands,
    demo,
    evaluate,
    harness,
    judge,
    merge,
    methods,
    rate,
    report,
    run,
    sample,
    score,
    train,
)
from halign.cli.trouble import trouble
from halign.errors import HalignError


class Commands(TyperGroup):
    """The sub-commands; ``judge audit`` is ``audit``, which is about judges."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Which command is meant, and what is left for it."""
        return super().resolve_command(ctx, args[1:] if args[:2] == ["judge", "audit"] else args)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Align language models with what people want of them: data in, an aligned model and an honest report out.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"halign {halign.__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Options before the sub-command."""


GETTING, TRAINING, USING = "Begin", "Train", "Use a model"
JUDGING, REPORTING = "Judge and evaluate", "Report"

app.command("demo", rich_help_panel=GETTING)(demo.demo)
app.add_typer(data_commands.app, name="data", rich_help_panel=GETTING)
app.command("methods", rich_help_panel=TRAINING)(methods.methods)
app.command("train", context_settings={"help_option_names": []}, rich_help_panel=TRAINING)(train.train)
app.command(
    "run",
    context_settings={"help_option_names": [], "ignore_unknown_options": True},
    rich_help_panel=TRAINING,
)(run.run)
app.command("merge", rich_help_panel=TRAINING)(merge.merge)
app.command("sample", rich_help_panel=USING)(sample.sample)
app.command("chat", rich_help_panel=USING)(chat.chat)
app.command("score", rich_help_panel=USING)(score.score)
app.command("judge", rich_help_panel=JUDGING)(judge.judge)
app.command("compare", rich_help_panel=JUDGING)(compare.compare)
app.command("converse", rich_help_panel=JUDGING)(converse.converse)
app.command("evaluate", rich_help_panel=JUDGING)(evaluate.evaluate)
app.command("harness", rich_help_panel=JUDGING)(harness.harness)
app.command("audit", rich_help_panel=JUDGING)(audit.audit)
app.command("rate", rich_help_panel=JUDGING)(rate.rate)
app.command("report", rich_help_panel=REPORTING)(report.report)


def main() -> None:
    """Entry point: a HalignError, or what the machine refuses, is one message on stderr and exit code 2; an interrupted run
    exits with 130.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # our own display says what is going on
    warnings.filterwarnings(
        "ignore", ".*is_gradient_checkpointing", FutureWarning
    )  # peft's; no user can act on it
    try:
        app()
    except HalignError as error:
        from halign.training import Interrupted

        typer.echo(f"{'' if isinstance(error, Interrupted) else 'error: '}{error}", err=True)
        sys.exit(130 if isinstance(error, Interrupted) else 2)
    except Exception as error:
        said = trouble(error)
        if said is None:
            raise
        typer.echo(f"error: {said}", err=True)
        sys.exit(2)
