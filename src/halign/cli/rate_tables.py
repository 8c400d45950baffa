"""What ``halign rate`` found, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def table(name: str, found: Mapping[str, Any]) -> str:
    """One dimension: ratings, with style held equal beside them, win rates, length-controlled ones, corrected pass rates."""
    lines = _ratings(name, found) if "ratings" in found else [f"{name}:"]
    if "style_controlled" in found:
        lines += _style(found["style_controlled"]["coefficients"])
    lines += [_win_rate(w) for w in found.get("win_rates", ())]
    if "length_controlled" in found:
        lines += _length(found["length_controlled"])
    for judge, models in found.get("pass_rates", {}).items():
        lines += _pass_rates(judge, models)
    return "\n".join(lines)


def _ratings(name: str, found: Mapping[str, Any]) -> list[str]:
    ratings, elo = found["ratings"], found.get("elo", {})
    held = found.get("style_controlled", {}).get("ratings", {})
    width = max(map(len, ratings))
    lines = [f"{name}: {found['comparisons']} comparisons, {found['left_out']} without a verdict left out"]
    lines.append(
        f"  {'':<{width}}  rating   95 % sandwich   95 % bootstrap     n"
        + ("   style held   95 % sandwich" if held else "")
        + ("   Elo   95 % bootstrap" if elo else "")
    )
    for model in sorted(ratings, key=lambda m: -ratings[m]["value"]):
        r = ratings[model]
        line = f"  {model:<{width}}  {r['value']:6.0f}  {_points(r)}  {_points(r['bootstrap'])}  {r['n']:4}"
        if held:
            line += f"  {held[model]['value']:11.0f}  {_points(held[model])}"
        if elo:
            line += f"  {elo[model]['value']:5.0f}  {_points(elo[model])}"
        lines.append(line)
    return lines


def _style(coefficients: Mapping[str, Any]) -> list[str]:
    if not coefficients:
        return ["  style never differs: nothing to hold equal"]
    told = ", ".join(
        f"{k} {c['value']:+.2f} [{c['low']:+.2f}, {c['high']:+.2f}]" for k, c in coefficients.items()
    )
    return [f"  what style alone is worth, in log-odds for one root mean square more of it: {told}"]


def _win_rate(w: Mapping[str, Any]) -> str:
    from halign.evaluate.significance import CORRECTIONS

    after = f", {CORRECTIONS[w['correction']][0]} {w['adjusted']:.3g}" if w["correction"] != "none" else ""
    return f"  {w['a']} against {w['b']}: {_per_cent(w['rate'])}, p {w['p']:.3g}{after}"


def _length(found: Mapping[str, Any]) -> list[str]:
    from halign.evaluate.length_control import THEIR_NAMES

    (kind,) = {c["model"] for c in found["models"].values()}
    of = {"fit": ", difficulties fitted on the other models here", "given": "", None: ""}[found["difficulty"]]
    width = max(map(len, found["models"]))
    lines = [f"  length control against {found['baseline']}: {kind} (AlpacaEval's {THEIR_NAMES[kind]}){of}"]
    lines.append(f"  {'':<{width}}  {'raw win rate':<24}  {'length-controlled':<24}  weight of length")
    for model, c in sorted(found["models"].items(), key=lambda row: -row[1]["controlled"]["value"]):
        shown = f"{_per_cent(c['win_rate']):<24}  {_per_cent(c['controlled']):<24}"
        lines.append(f"  {model:<{width}}  {shown}  {c['weights']['length']:+.2f}")
    return lines


def _pass_rates(judge: str, models: Mapping[str, Any]) -> list[str]:
    width = max(map(len, models))
    lines = [f"  pass rates by {judge}"]
    lines.append(f"  {'':<{width}}  {'as judged':<24}  {'corrected':<24}  {'95 % bootstrap':<14}     n")
    for model, c in models.items():
        boot = f"[{100 * c['resampled']['low']:.1f}, {100 * c['resampled']['high']:.1f}]"
        shown = f"{_per_cent(c['judged']):<24}  {_per_cent(c['corrected']):<24}  {boot:<14}"
        lines.append(f"  {model:<{width}}  {shown}  {c['judged']['n']:4}")
    se, sp = (next(iter(models.values()))[k] for k in ("sensitivity", "specificity"))
    lines.append(
        f"  on {se['n'] + sp['n']} labelled replies it passes {_per_cent(se)} of the {se['n']} that people pass (sensitivity) "
        f"and fails {_per_cent(sp)} of the {sp['n']} that they fail (specificity)"
    )
    return lines


def _points(i: Mapping[str, Any]) -> str:
    return f"[{i['low']:5.0f}, {i['high']:5.0f}]"


def _per_cent(i: Mapping[str, Any]) -> str:
    return f"{100 * i['value']:.1f} % [{100 * i['low']:.1f}, {100 * i['high']:.1f}]"
