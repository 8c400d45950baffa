"""``halign data``: look at data, check it, and convert it, before a GPU hour is spent on it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from halign import checks, convert, lineage
from halign.cli import data_views as views
from halign.cli.options import File, Overwrite, Reading, reads
from halign.errors import HalignError
from halign.examples import Example
from halign.items import Kind
from halign.readers import Data, read, write_jsonl

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Check, show, count and convert data.")

Model = Annotated[
    str | None, typer.Option(help="Model name or folder: its tokenizer and chat template count tokens.")
]
MaxLength = Annotated[
    int | None, typer.Option(help="Tokens of prompt + reply, with --model. Default: no limit.", min=1)
]

SHOWN_ERRORS = 20

KIND_OF: dict[str, Kind] = {
    "Preference": "pairs",
    "Ranking": "lists",
    "Rating": "singles",
    "Demonstration": "tokens",
    "Conversation": "pairs",
}
"""What examples are rendered as to count their tokens: what they hold most of."""


@app.command()
@reads
def check(
    file: File,
    model: Model = None,
    max_length: MaxLength = None,
    *,
    reading: Reading,
) -> None:
    """Find what is wrong: bad rows, duplicates, oddities; with --model also lengths, truncation and sharing.

    Exit code 0: usable. 2: it has bad rows (and --skip-bad was not given), or cannot be read or rendered.

    halign data check pairs.jsonl --model Qwen/Qwen3-0.6B
    """
    console = Console()
    data = read(
        file,
        **reading.options(skip_bad=True),
    )
    views.list_skipped(console, data, SHOWN_ERRORS)
    views.print_table(console, f"{file.name}: structure", _structure(data))
    repeats = checks.duplicates(data)
    rows = [
        ("exact duplicates", f"{repeats.exact:,}"),
        ("near-duplicates, other conversations", f"{repeats.near:,}"),
    ]
    rows += [(f"  e.g. example {i}", f"is like example {j}") for i, j in repeats.pairs[:3]]
    views.print_table(console, "repeats", rows)
    if model is not None:
        left_out = _print_tokens(console, data, model, max_length)
        if left_out:
            views.note(console, f"{left_out:,} items are left out of training: see the table above")
    elif max_length is not None:
        raise HalignError("--max-length has no effect without --model")
    for remark in checks.remarks(data):
        views.note(console, remark)
    if data.skipped and not reading.skip_bad:
        views.note(console, "mend the bad rows, or leave them out with --skip-bad")
        raise typer.Exit(2)
    views.good(console, f"{len(data):,} examples are well formed")


@app.command()
@reads
def show(
    file: File,
    number: Annotated[int, typer.Option("-n", "--number", help="How many examples.", min=1)] = 3,
    start: Annotated[int, typer.Option(help="First example, counted from 0.", min=0)] = 0,
    *,
    reading: Reading,
) -> None:
    """Show examples as conversations: rules, turns, and what could have been said instead.

    halign data show pairs.jsonl
    """
    console = Console()
    data = read(
        file,
        **reading.options(),
    )
    views.note(console, f"read as {data.format}, because {data.why}")
    if start >= len(data):
        raise HalignError(f"--start {start}: {file} has {len(data)} examples, 0 to {len(data) - 1}")
    for i in range(start, min(start + number, len(data))):
        views.print_example(console, data[i], i)
    views.note(
        console, f"{min(number, len(data) - start)} of {len(data):,} examples; more with -n and --start"
    )


@app.command()
@reads
def stats(
    file: File,
    model: Model = None,
    max_length: MaxLength = None,
    against: Annotated[
        Path | None, typer.Option(help="A test file: what it shares with FILE.", show_default=False)
    ] = None,
    *,
    reading: Reading,
) -> None:
    """Count: kinds, turns, lengths (words; tokens with --model), labels, ranks, length bias, guardrails; overlap
    with --against.

    halign data stats pairs.jsonl
    """
    console = Console()
    data = read(file, **reading.options())
    if model is None and max_length is not None:
        raise HalignError("--max-length has no effect without --model")
    views.list_skipped(console, data, SHOWN_ERRORS)
    views.print_table(console, f"{file.name}: structure", _structure(data))
    views.print_lengths(console, views.lengths(data))
    verdicts = views.verdicts(data)
    if verdicts:
        views.print_table(console, "verdicts", verdicts)
    from halign.curation.balance import Balance

    balance = Balance()
    for example in data:
        balance.add(example)
    if rows := balance.rows():
        views.print_table(console, "balance", rows)
    if rules := balance.guardrails():
        views.print_guardrails(console, rules)
    if model is not None:
        _print_tokens(console, data, model, max_length)
    if against is not None:
        overlap = checks.split_overlap(data, read(against, **reading.options(format=None)))
        rows = [
            ("shared conversations", f"{len(overlap.conversations):,}"),
            ("same text", f"{overlap.exact:,}"),
            ("near-duplicates", f"{overlap.near:,}"),
        ]
        rows += [("  e.g.", name) for name in overlap.conversations[:3]]
        rows += [(f"  e.g. its example {i}", f"is like example {j}") for i, j in overlap.pairs[:3]]
        views.print_table(console, f"of {against.name}, in {file.name}", rows)


@app.command("convert")
@reads
def convert_file(
    file: File,
    to: Annotated[str, typer.Option(help="pairs, rankings, singles or messages.", show_default=False)],
    output: Annotated[Path, typer.Option(help="The new file, .jsonl or .jsonl.gz.", show_default=False)],
    how: Annotated[
        str | None,
        typer.Option(help="For pairs: best_rest, all or adjacent ranks. Default: best_rest."),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="For singles: scores from here on are good. Default: the best are good, the rest bad."
        ),
    ] = None,
    overwrite: Overwrite = False,
    *,
    reading: Reading,
) -> None:
    """Write the examples in another form, as canonical JSONL. The output appears whole or not at all.

    halign data convert conversations.jsonl --to pairs --output pairs.jsonl
    """
    console = Console()
    if not output.name.endswith((".jsonl", ".jsonl.gz")):
        raise HalignError(f"--output {output}: the name has to end in .jsonl or .jsonl.gz")
    if output.exists() and not overwrite:
        raise HalignError(f"{output} exists; replace it with --overwrite, or name another --output")
    data = read(
        file,
        **reading.options(),
    )
    made = _converted(data, to, how, threshold)
    if not made.examples:
        why = "; ".join(f"{n:,} {reason}" for reason, n in made.dropped.items()) or "no turn has alternatives"
        raise HalignError(f"{file}: nothing to write: {why}")
    count = write_jsonl(made.examples, output)
    lineage.write_header(output, [], [file])
    views.list_skipped(console, data, SHOWN_ERRORS)
    rows = [("read", f"{len(data):,} {data.format}"), ("written", f"{count:,} {to}")]
    rows += [(f"dropped: {reason}", f"{n:,}") for reason, n in made.dropped.items()]
    views.print_table(console, f"{file.name} -> {output}", rows)


def _converted(data: Data, to: str, how: str | None, threshold: float | None) -> convert.Converted[Example]:
    """The data in the form ``to``; settings that would do nothing are errors."""
    if how is not None and to != "pairs":
        raise HalignError(f"--how has no effect on --to {to}")
    if threshold is not None and to != "singles":
        raise HalignError(f"--threshold has no effect on --to {to}")
    if to == "pairs":
        return convert.to_pairs(data, how or "best_rest")
    if to == "rankings":
        return convert.to_rankings(data)
    if to == "singles":
        return convert.to_singles(data, threshold)
    if to == "messages":
        return convert.to_demonstrations(data)
    raise HalignError(f"--to {to}: no such form; pairs, rankings, singles or messages")


def _structure(data: Data) -> list[tuple[str, str]]:
    """What the file holds."""
    kinds = Counter(type(e).__name__ for e in data)
    turns = sum(bool(a) for e in data for a in getattr(e, "alternatives", {}).values())
    rows = [
        ("rows", f"{len(data) + len(data.skipped):,}, {len(data.skipped):,} of them bad"),
        ("form", data.format),
        *([("because", data.why)] if data.why else []),
        ("examples", ", ".join(f"{n:,} {name}" for name, n in kinds.items())),
        ("conversations", f"{len({e.conversation for e in data}):,}"),
    ]
    if turns:
        rows.append(("agent turns with alternatives", f"{turns:,}"))
    return [*rows, ("fingerprint", data.fingerprint[:16])]


def _print_tokens(console: Console, data: Data, model: str, max_length: int | None) -> int:
    """Print rendered lengths, truncation and sharing. Returns how many items could not be rendered."""
    from halign.render import Renderer

    tokenizer, stop_ids = load_tokenizer(model)
    renderer = Renderer(tokenizer, stop_ids=stop_ids, max_length=max_length)
    kind = KIND_OF[type(data[0]).__name__]
    examples: list[Example] = list(data)
    if kind == "pairs" and (made := convert.to_pairs(data).examples):
        examples = list(made)
    elif kind == "pairs":
        kind = "tokens"
    report = checks.token_report(examples, lambda e: renderer.items(e, kind))
    rows = views.token_rows(report, kind)
    rendered = renderer.report
    if max_length is not None:
        rows.append(("prompts that lose old turns", f"{rendered.truncated:,} of {rendered.paths:,}"))
    rows += [(f"left out: {reason}", f"{n:,}") for reason, n in rendered.left_out.items()]
    if rendered.control_tokens:
        rows.append(("examples that spell a special token", f"{rendered.control_tokens:,}"))
    views.print_table(console, f"tokens, as {model} reads them", rows)
    return sum(rendered.left_out.values())


def load_tokenizer(model: str) -> tuple[Any, frozenset[int] | None]:
    """(tokenizer, end-of-turn tokens if a generation configuration names them) of a name or folder.

    Raises:
        HalignError: if there is none.
    """
    from transformers import AutoTokenizer, GenerationConfig

    inner = Path(model) / "model"
    name = str(inner) if (inner / "config.json").exists() else model
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as e:
        raise HalignError(f"--model {model}: no tokenizer there ({str(e).splitlines()[0]})") from None
    try:
        eos = GenerationConfig.from_pretrained(name).eos_token_id
    except (OSError, ValueError):
        return tokenizer, None
    return tokenizer, None if eos is None else frozenset([eos] if isinstance(eos, int) else eos)
