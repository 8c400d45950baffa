"""Options that several commands have: how a file is read, and a model behind an endpoint.

A command says that it takes them by a parameter ``reading: Reading`` or ``remote: Remote`` and by a decorator, which puts the
options in its place, so that each is described once.

    @reads
    def check(file: File, *, reading: Reading) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halign.readers import FORMATS
from halign.readers.columns import parse_columns

if TYPE_CHECKING:
    from halign.curation.source import RowSource

Command = Callable[..., Any]

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help=".jsonl, .json, .csv, .tsv (.gz, .zst ...), .parquet, a folder of them or saved by [bold]datasets[/bold],"
        " hub:owner/name.",
        show_default=False,
    ),
]
Output = Annotated[
    Path, typer.Argument(metavar="OUT", help="The new file, .jsonl or .jsonl.gz.", show_default=False)
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]
Dropped = Annotated[
    bool, typer.Option("--dropped", help="Write the rows left out, with the reason, to OUT.dropped.jsonl.")
]
Encoding = Annotated[str | None, typer.Option(help="Of a text file that is not UTF-8, e.g. cp1252.")]
Split = Annotated[str | None, typer.Option(help="Which split, where the source has several.")]
Columns = Annotated[
    str | None,
    typer.Option("--columns", help="Which column is what: prompt=question,chosen=answers[0\\].text."),
]

READING: dict[str, Any] = {
    "skip_bad": Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad rows out, count them and list them.")
    ],
    "format": Annotated[
        str | None, typer.Option(help=f"Form of the rows: {', '.join(FORMATS[:-1])}. Default: found.")
    ],
    "split": Split,
    "guardrails": Annotated[
        str | None, typer.Option(help="Column that holds the rules, e.g. policy. Default: guardrails.")
    ],
    "conversation": Annotated[
        str | None,
        typer.Option("--conversation", help="Column that names the conversation. Default: found."),
    ],
    "conversation_pattern": Annotated[
        str | None,
        typer.Option(
            "--conversation-pattern",
            help=r"Regular expression; its first group names it, e.g. '^(star-\d+)'.",
        ),
    ],
    "columns": Columns,
    "encoding": Encoding,
}
"""Name -> the option, for what the readers are told."""


@dataclass(frozen=True)
class Reading:
    """What the command line says of how a file is read."""

    skip_bad: bool = False
    format: str | None = None
    split: str | None = None
    guardrails: str | None = None
    conversation: str | None = None
    conversation_pattern: str | None = None
    columns: str | None = None
    encoding: str | None = None

    def options(self, **changes: Any) -> dict[str, Any]:
        """Keyword arguments of ``halign.readers.read``.

        Raises:
            HalignError: ``columns`` is of another form.
        """
        said = asdict(self)
        return {**said, "columns": parse_columns(self.columns) if self.columns else None, **changes}

    def source(self, file: Any) -> RowSource:
        """The file, to be read row by row.

        Raises:
            HalignError: as ``options``.
        """
        from halign.curation.source import RowSource

        return RowSource(file, **self.options())


@dataclass(frozen=True)
class Remote:
    """What the command line says of a model behind an endpoint, beside its address and name."""

    key_env: str | None = None
    concurrency: int | None = None
    input_price: float | None = None
    output_price: float | None = None
    budget: float | None = None
    dry_run: bool = False

    def settings(self) -> dict[str, Any]:
        """Those of ``sampler_at``: of the endpoint, and the budget."""
        return {k: v for k, v in asdict(self).items() if k != "dry_run"}

    def given(self) -> dict[str, Any]:
        """All of them, for ``refuse``."""
        return asdict(self)


def endpoint_options(when: str) -> dict[str, Any]:
    """Name -> the option, of one endpoint; ``when`` it has an effect stands before its help."""
    at = f"With {when}: "
    return {
        "key_env": Annotated[str | None, typer.Option(help=f"{at}environment variable that holds the key.")],
        "concurrency": Annotated[
            int | None, typer.Option(help=f"{at}requests in flight at most. Default: 8.", min=1)
        ],
        "input_price": Annotated[
            float | None, typer.Option(help=f"{at}price of a million prompt tokens.", min=0)
        ],
        "output_price": Annotated[
            float | None, typer.Option(help=f"{at}price of a million reply tokens.", min=0)
        ],
    }


def job_options(when: str) -> dict[str, Any]:
    """Name -> the option, of a whole command, however many endpoints it asks."""
    at = f"With {when}: "
    return {
        "budget": Annotated[
            float | None, typer.Option(help=f"{at}stop before this is exceeded; needs prices.", min=0)
        ],
        "dry_run": Annotated[
            bool, typer.Option("--dry-run", help=f"{at}say what it would cost, ask and write nothing.")
        ],
    }


def remote_options(when: str, job: str | None = None) -> dict[str, Any]:
    """Those of an endpoint and of the command; ``job``: when the latter have an effect, where that is another time."""
    return {**endpoint_options(when), **job_options(job or when)}


def reads(command: Command) -> Command:
    """Puts the reader's options in place of the parameter ``reading``."""
    return _spread(command, "reading", READING, Reading)


def asks(when: str, prefix: str = "", job: str | None = None) -> Callable[[Command], Command]:
    """Puts the endpoint's options in place of the parameter ``remote``.

    Args:
        prefix: of a second endpoint (a judge's, a simulated user's): its options are ``--PREFIX-key-env`` ... and take the place
            of ``PREFIX_remote``. Budget and dry run are the command's, and are not among them.
        job: as for ``remote_options``.
    """

    def spread(command: Command) -> Command:
        if prefix:
            return _spread(command, f"{prefix}_remote", endpoint_options(when), Remote, f"{prefix}_")
        return _spread(command, "remote", remote_options(when, job), Remote)

    return spread


def _spread(command: Command, name: str, options: Mapping[str, Any], made: type, prefix: str = "") -> Command:
    """The command with one parameter for each option in place of ``name``, which is made of them."""
    known = inspect.signature(command, eval_str=True)
    default = made()
    parts = [
        inspect.Parameter(
            f"{prefix}{k}", inspect.Parameter.KEYWORD_ONLY, default=getattr(default, k), annotation=of
        )
        for k, of in options.items()
    ]
    place = list(known.parameters).index(name)
    before, after = list(known.parameters.values())[:place], list(known.parameters.values())[place + 1 :]

    @functools.wraps(command)
    def spread(*positional: Any, **given: Any) -> Any:
        said = {k: given.pop(f"{prefix}{k}") for k in options if f"{prefix}{k}" in given}
        return command(*positional, **given, **{name: made(**said)})

    signature = known.replace(parameters=[*before, *parts, *after])
    spread.__signature__ = signature  # type: ignore[attr-defined]
    spread.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    del spread.__wrapped__
    return spread
