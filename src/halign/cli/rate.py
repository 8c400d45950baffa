"""``halign rate``: which of several models are better, and what is left of it with length, style or mistakes taken out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from halign.cli import outputs as o
from halign.cli import rate_tables as tables
from halign.cli.rate_rows import FIT, Rows, difficulty_of, grades_of, is_person
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.evaluate.matches import Matches
    from halign.judges.records import Record


def rate(
    judged: Annotated[list[Path], typer.Argument(metavar="JUDGED...", help="Folders of verdicts.")],
    dimension: Annotated[
        str | None, typer.Option(help="Only this dimension. Default: each by itself.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Only this judge's verdicts. Default: all together.")
    ] = None,
    ties: Annotated[
        str, typer.Option(help="half: half a win each; davidson: an outcome of their own.")
    ] = "half",
    prior: Annotated[
        float,
        typer.Option(
            help="Virtual comparisons of every two models (with --style a ridge); keeps ratings finite.",
            min=0,
        ),
    ] = 0.0,
    elo: Annotated[bool, typer.Option(help="Also Elo ratings, averaged over orders.")] = False,
    style: Annotated[
        bool,
        typer.Option(
            "--style", help="Also ratings with style held equal: length, headers, lists, bold as covariates."
        ),
    ] = False,
    length: Annotated[
        str | None,
        typer.Option(
            metavar="BASELINE",
            help="Also length-controlled win rates against this model (AlpacaEval 2's GLM).",
        ),
    ] = None,
    difficulty: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|fit",
            help='With --length: each question\'s difficulty, JSONL {"item", "difficulty"}, or fitted on the other models.',
        ),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(
            help="With --difficulty: a model that is the baseline, told to be verbose or concise. Two: AlpacaEval's full model."
        ),
    ] = None,
    corrected_by: Annotated[
        Path | None,
        typer.Option(
            metavar="LABELS",
            help="Also pass rates without the judge's mistakes, which people's labels show: a file of votes on these replies, "
            "or a folder that the same judge and human:FILE judged.",
        ),
    ] = None,
    correction: o.Correction = "holm",
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.", min=2)] = 500,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of Elo's orders.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write the numbers as JSON.")] = None,
) -> None:
    """Bradley-Terry ratings with 95 % intervals clustered by conversation (1000 is the mean, 400 points are odds of 10 to 1), and
    every pair's win rate; beside them, if asked for, ratings with style held equal, length-controlled win rates, and pass rates
    corrected for the judge's sensitivity and specificity.

    halign rate judged --dimension helpfulness --output ratings.json
    """
    import json

    if ties not in ("half", "davidson"):
        raise HalignError(f"--ties {ties} is neither half nor davidson")
    o.check_correction(correction)
    if length is None and (difficulty or anchor):
        raise HalignError(
            f"--{'difficulty' if difficulty else 'anchor'} would have no effect without --length"
        )
    if anchor and not difficulty:
        raise HalignError("--anchor makes the full model, which needs --difficulty FILE, or fit, as well")
    wish = Wish(
        ties,  # type: ignore[arg-type]
        prior,
        elo,
        style,
        length,
        difficulty_of(difficulty),
        tuple(anchor or ()),
        correction,
        resamples,
        seed,
    )
    rows = Rows.of(judged, judge, corrected_by)
    found = {name: _rated(rows, name, wish) for name in rows.dimensions(dimension)}
    if corrected_by is not None and not any("pass_rates" in f for f in found.values()):
        raise HalignError(
            "--corrected-by is about grades that say what is acceptable, and there are none here"
        )
    if not any(found.values()):
        raise HalignError(
            "rate: no comparison of two models has a verdict: one model alone was graded (--corrected-by gives its pass rate)"
        )
    _adjust(found, correction)
    for name, one in ((n, f) for n, f in found.items() if f):
        typer.echo(tables.table(name, one))
    if output is not None:
        output.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Wish:
    """What is asked for, as on the command line; ``difficulty``: item's id -> g_x, or "fit"."""

    ties: Literal["half", "davidson"]
    prior: float
    elo: bool
    style: bool
    length: str | None
    difficulty: dict[str, float] | Literal["fit"] | None
    anchors: tuple[str, ...]
    correction: str
    resamples: int
    seed: int


def _matches(records: list[Record]) -> Matches | None:
    """Of verdicts on pairs where there are any, else of grades; None where one model alone was graded."""
    from halign.evaluate.matches import Matches
    from halign.judges.records import PairRecord

    pairs = [r for r in records if isinstance(r, PairRecord)]
    grades = grades_of(records)
    if pairs:
        return Matches.of(pairs)
    return None if len({g.model for g in grades}) == 1 else Matches.of_grades(grades)


def _rated(rows: Rows, dimension: str, wish: Wish) -> dict[str, Any]:
    """The numbers of one dimension, as JSON."""
    records = [r for r in rows.records if r.dimension == dimension]
    found: dict[str, Any] = {}
    matches = _matches(records)
    if matches is not None:
        found |= _compared(matches, wish)
        if wish.style or wish.length is not None:
            found |= _controlled(matches, rows, wish)
    if rows.people is not None:
        found |= _corrected(records, rows, wish)
    return found


def _compared(matches: Matches, wish: Wish) -> dict[str, Any]:
    from halign.evaluate.bradley_terry import bradley_terry
    from halign.evaluate.elo import elo
    from halign.evaluate.win_rates import win_rates

    of = bradley_terry(matches, ties=wish.ties, prior=wish.prior, resamples=wish.resamples, seed=wish.seed)
    found = of.to_dict() | {"ties": wish.ties, "prior": wish.prior}
    found |= {"comparisons": len(matches), "left_out": matches.left_out}
    found["win_rates"] = [w.to_dict() for w in win_rates(matches, seed=wish.seed)]
    if wish.elo:
        found["elo"] = {k: i.to_dict() for k, i in elo(matches, seed=wish.seed).items()}
    return found


def _controlled(matches: Matches, rows: Rows, wish: Wish) -> dict[str, Any]:
    from halign.evaluate.controls import with_length_held, with_style_held

    if clash := sorted(rows.clashing & {(i, m) for i in matches.items for m in matches.models}):
        item, model = clash[0]
        raise HalignError(
            f"two folders have different replies of {model} to {item.partition(chr(10))[0]}; rate them one by one"
        )
    found: dict[str, Any] = {}
    if wish.style:
        found["style_controlled"] = with_style_held(matches, rows.texts, prior=wish.prior).to_dict()
    if wish.length is not None:
        difficulty = wish.difficulty
        if isinstance(difficulty, dict):  # a file names items by their ids alone
            ids = {i: i.partition("\n")[0] for i in matches.items}
            difficulty = {i: difficulty[plain] for i, plain in ids.items() if plain in difficulty}
        held = with_length_held(
            matches,
            rows.texts,
            wish.length,
            difficulty=difficulty,
            anchors=wish.anchors,
            resamples=wish.resamples,
            seed=wish.seed,
        )
        found["length_controlled"] = {
            "baseline": wish.length,
            "difficulty": FIT if wish.difficulty == FIT else "given" if wish.difficulty else None,
            "models": {name: c.to_dict() for name, c in held.items()},
        }
    return found


def _corrected(records: list[Record], rows: Rows, wish: Wish) -> dict[str, Any]:
    """Judge -> model -> its corrected pass rate; nothing where no grade says what is acceptable."""
    from halign.evaluate.pass_rates import corrected_pass_rates, people_say

    grades = [r for r in grades_of(records) if r.acceptable is not None and not is_person(r.judge)]
    said = people_say(rows.people or ())
    found: dict[str, Any] = {}
    for name in sorted({r.judge for r in grades}):
        own = [r for r in grades if r.judge == name]
        labelled = [
            r for r in rows.labelled if (r.judge, r.dimension, r.guardrail) == (name, own[0].dimension, None)
        ]
        corrected = corrected_pass_rates(own, labelled, said, resamples=wish.resamples, seed=wish.seed)
        found[name] = {model: c.to_dict() for model, c in corrected.items()}
    return {"pass_rates": found} if found else {}


def _adjust(found: dict[str, Any], correction: str) -> None:
    """Put p corrected for all comparisons shown, of every dimension, beside each."""
    from halign.evaluate.significance import corrected

    every = [w for one in found.values() for w in one.get("win_rates", ())]
    for w, p in zip(every, corrected([w["p"] for w in every], correction), strict=True):
        w |= {"adjusted": p, "correction": correction, "comparisons": len(every)}
