"""What judging commands take: stored replies (``NAME=FILE.jsonl``), models to be asked, and judges with their options."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from halign.cli.samplers import sampler_here
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.judges.stored import Stored

JUDGE_HELP = (
    "care, checks, chart:FILE, reward:FOLDER, pairwise:FOLDER, llm:NAME@URL, local:FOLDER, human:FILE, or "
    "package.module:name."
)
Rubrics = Annotated[
    str | None,
    typer.Option(
        "--rubric",
        help="Of language models: names or files, a,b,file.yaml,persona:FILE. Default: adherence,naturalness,hallucination.",
    ),
]
Explain = Annotated[bool, typer.Option(help="Of language models: a reason before every verdict.")]
Draws = Annotated[
    int | None, typer.Option(help="Of llm: draws for each question where words are read. Default: 1.", min=1)
]
KeyEnv = Annotated[str | None, typer.Option(help="Of llm: environment variable that holds the key.")]
Concurrency = Annotated[
    int | None, typer.Option(help="Of llm: requests in flight at most. Default: 8.", min=1)
]
InputPrice = Annotated[float | None, typer.Option(help="Of llm: price of a million prompt tokens.", min=0)]
OutputPrice = Annotated[float | None, typer.Option(help="Of llm: price of a million reply tokens.", min=0)]
Budget = Annotated[
    float | None, typer.Option(help="Of llm: stop before this is exceeded; needs prices.", min=0)
]

Correction = Annotated[
    str,
    typer.Option(
        help="Of p for all comparisons that are shown: holm (no false finding), benjamini-hochberg (few among them), none."
    ),
]


def check_correction(correction: str) -> None:
    """See that there is such a correction, before anything is asked.

    Raises:
        HalignError: there is none.
    """
    from halign.evaluate.significance import CORRECTIONS

    if correction not in CORRECTIONS:
        raise HalignError(f"--correction {correction} is none of {', '.join(CORRECTIONS)}")


def remote(
    key_env: str | None,
    concurrency: int | None,
    input_price: float | None,
    output_price: float | None,
    budget: float | None,
) -> dict[str, Any]:
    """The options of a judge behind an endpoint, as ``judges.llm`` calls them; None where they were not given."""
    return {
        "key_env": key_env,
        "concurrency": concurrency,
        "input_price": input_price,
        "output_price": output_price,
        "budget": budget,
    }


def judge_of(
    words: str,
    rubric: str | None,
    explain: bool,
    samples: int | None,
    at: Mapping[str, Any],
    prefix: str = "",
) -> Any:
    """The judge that a command line names.

    Args:
        at: of ``remote``.
        prefix: of its options on that command line, for the error.

    Raises:
        HalignError: there is none, or an option has no effect on it.
    """
    from halign.judges import find_judge

    given = {k: v for k, v in {**at, "explain": explain or None, "samples": samples}.items() if v is not None}
    if not words.startswith("llm:"):
        lost = [k for k in given if k != "explain" or not words.startswith("local:")]
        if lost:
            names = ", ".join(f"--{prefix}{k.replace('_', '-')}" for k in lost)
            raise HalignError(f"{names} would have no effect on the judge {words}: leave it out")
    return find_judge(words, [r.strip() for r in rubric.split(",")] if rubric else (), **given)


def named(words: Sequence[str]) -> dict[str, str]:
    """Name -> file, folder or model; without ``NAME=`` a file is called by its stem, and a model as it is written.

    >>> named(["a=out.jsonl", "x/b.jsonl", "runs/ipo"])
    {'a': 'out.jsonl', 'b': 'x/b.jsonl', 'runs/ipo': 'runs/ipo'}

    Raises:
        HalignError: two have one name.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, place = word.partition("=")
        if not equals:
            name, place = (Path(word).stem if word.endswith(".jsonl") else word), word
        if name in found:
            raise HalignError(f"two models are called {name}: name them apart, NAME={place}")
        found[name] = place
    return found


def is_stored(place: str) -> bool:
    """Whether these are replies in a file, and no model."""
    return place.endswith(".jsonl") or Path(place).is_file()


def stored(places: Mapping[str, str]) -> Stored | None:
    """The items of the files among them; None if there are none.

    Raises:
        HalignError: as ``stored_items``.
    """
    from halign.judges.stored import stored_items

    files = {n: p for n, p in places.items() if is_stored(p)}
    if not files:
        return None
    found = stored_items(files)
    if found.left_out:
        typer.echo(f"{found.left_out} replies left out: not every model has answered their prompts", err=True)
    return found


def samplers(places: Mapping[str, str]) -> dict[str, Any]:
    """A sampler for every model among them."""
    return {n: sampler_here(p) for n, p in places.items() if not is_stored(p)}


def command() -> str:
    """The command as it was given, quoted so that a shell takes it as it was."""
    return shlex.join(["halign", *sys.argv[1:]])
