"""``halign rate``: which of several models are better, on one scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from halign.evaluate.matches import Matches
    from halign.judges.records import Judged, Record


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
        float, typer.Option(help="Virtual comparisons of every two models; keeps ratings finite.", min=0)
    ] = 0.0,
    elo: Annotated[bool, typer.Option(help="Also Elo ratings, averaged over orders.")] = False,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap.", min=2)] = 500,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of Elo's orders.", min=0)] = 0,
    output: Annotated[Path | None, typer.Option(help="Also write the numbers as JSON.")] = None,
) -> None:
    """Bradley-Terry ratings with 95 % intervals clustered by conversation (1000 is the mean, 400 points are odds of 10 to 1), and
    every pair's win rate.
    """
    import json

    from halign.errors import HalignError
    from halign.judges.records import Judged

    if ties not in ("half", "davidson"):
        raise HalignError(f"--ties {ties} is neither half nor davidson")
    records = [
        r
        for folder in judged
        for r in _placed(Judged.read(folder))
        if r.guardrail is None and (judge is None or r.judge == judge)
    ]
    dimensions = sorted({r.dimension for r in records if dimension is None or r.dimension == dimension})
    if not dimensions:
        there = ", ".join(sorted({r.dimension for r in records})) or "none"
        raise HalignError(f"rate: no verdicts of this dimension or judge; dimensions there: {there}")
    found = {}
    for name in dimensions:
        matches = _matches([r for r in records if r.dimension == name])
        found[name] = _rated(matches, ties, prior, elo, resamples, seed)  # type: ignore[arg-type]
        typer.echo(_table(name, matches, found[name]))
    if output is not None:
        output.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _placed(judged: Judged) -> list[Record]:
    """A folder's records under ids that say what was asked: folders number their items alike, and two models' grades are compared
    only where both answered the same last message.
    """
    asked = {k: str(i.prompt[-1].get("content", "")) if i.prompt else "" for k, i in judged.items.items()}
    return [replace(r, item=f"{r.item}\n{asked.get(r.item, '')}") for r in judged.records]


def _matches(records: list[Any]) -> Matches:
    """Of verdicts on pairs where there are any, else of grades."""
    from halign.evaluate.matches import Matches
    from halign.judges.records import PairRecord

    pairs = [r for r in records if isinstance(r, PairRecord)]
    return Matches.of(pairs) if pairs else Matches.of_grades(records)


def _rated(
    matches: Matches, ties: Literal["half", "davidson"], prior: float, elo: bool, resamples: int, seed: int
) -> dict[str, Any]:
    from halign.evaluate.bradley_terry import bradley_terry
    from halign.evaluate.elo import elo as elo_of
    from halign.evaluate.win_rates import win_rates

    found = bradley_terry(matches, ties=ties, prior=prior, resamples=resamples, seed=seed).to_dict()
    found |= {"ties": ties, "prior": prior, "comparisons": len(matches), "left_out": matches.left_out}
    found["win_rates"] = [w.to_dict() for w in win_rates(matches, seed=seed)]
    if elo:
        found["elo"] = {k: i.to_dict() for k, i in elo_of(matches, seed=seed).items()}
    return found


def _table(name: str, matches: Matches, found: dict[str, Any]) -> str:
    ratings, elo = found["ratings"], found.get("elo", {})
    width = max(len(m) for m in matches.models)
    lines = [f"{name}: {len(matches)} comparisons, {matches.left_out} without a verdict left out"]
    lines.append(
        f"  {'':<{width}}  rating   95 % sandwich   95 % bootstrap     n" + ("   Elo" if elo else "")
    )
    for model in sorted(ratings, key=lambda m: -ratings[m]["value"]):
        r = ratings[model]
        b = r["bootstrap"]
        line = f"  {model:<{width}}  {r['value']:6.0f}  [{r['low']:5.0f}, {r['high']:5.0f}]  [{b['low']:5.0f}, {b['high']:5.0f}]"
        lines.append(line + f"  {r['n']:4}" + (f"  {elo[model]['value']:5.0f}" if elo else ""))
    for w in found["win_rates"]:
        i = w["rate"]
        lines.append(
            f"  {w['a']} against {w['b']}: {100 * i['value']:.1f} % [{100 * i['low']:.1f}, {100 * i['high']:.1f}], "
            f"p {w['p']:.3g}, after Holm {w['adjusted']:.3g}"
        )
    return "\n".join(lines)
