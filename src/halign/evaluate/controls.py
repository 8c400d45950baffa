"""Comparisons with length or style held equal: what ``length_control`` and ``style`` need, read off stored replies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from halign.errors import DataError, HalignError
from halign.evaluate.clusters import Floats
from halign.evaluate.length_control import LengthControlled, anchors_of, length_controlled
from halign.evaluate.matches import Matches
from halign.evaluate.penalised import instruction_difficulty
from halign.evaluate.style import StyleControlled, style_controlled
from halign.judges.records import rows

Texts = Mapping[tuple[str, str], str]
"""(item, model) -> its reply."""
Difficulty = Mapping[str, float] | Literal["fit"] | None
"""Item -> g_x; or to be fitted here."""


def read_difficulty(file: Path) -> dict[str, float]:
    """Item's id -> g_x, of a JSONL file of {"item", "difficulty"}.

    Raises:
        HalignError: no such file.
        DataError: a row that has no item and number, with its line.
    """
    if not file.is_file():
        raise HalignError(f"no file of difficulties at {file}")
    found = {}
    for number, row in rows(file):
        try:
            found[str(row["item"])] = float(row["difficulty"])
        except (KeyError, TypeError, ValueError):
            raise DataError(
                'expected {"item": id, "difficulty": number}', file=str(file), line=number
            ) from None
    return found


def with_style_held(matches: Matches, texts: Texts, *, prior: float = 0.0) -> StyleControlled:
    """Ratings with style held equal (``style_controlled``), of comparisons whose replies are stored.

    Raises:
        HalignError: a reply is not stored; or as ``style_controlled``.
    """
    of_a = [_reply(texts, item, matches.models[i]) for item, i in zip(matches.items, matches.a, strict=True)]
    of_b = [_reply(texts, item, matches.models[i]) for item, i in zip(matches.items, matches.b, strict=True)]
    return style_controlled(matches, of_a, of_b, prior=prior)


def with_length_held(
    matches: Matches,
    texts: Texts,
    baseline: str,
    *,
    difficulty: Difficulty = None,
    anchors: Collection[str] = (),
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> dict[str, LengthControlled]:
    """Model -> its length-controlled win rate against the baseline (``length_controlled``), from its own comparisons with it.

    Without ``difficulty`` the ``plain`` model; with it ``with_difficulty``; with ``anchors`` besides, the ``full`` one.

    Args:
        difficulty: g_x of every item; ``fit``: for each model from the verdicts on the *other* models here
            (``instruction_difficulty``), so that no verdict explains itself. AlpacaEval's are fitted on its own early models.
        anchors: models that are the baseline asked to be verbose, concise ...; they are in no other number.

    Raises:
        HalignError: no model met the baseline; an anchor did not, or stands without difficulty; a reply or an item's difficulty
            is missing; fewer than three models to fit difficulties from; or as ``length_controlled``.
    """
    met = _against(matches, texts, baseline)
    lost = [a for a in anchors if a not in met]
    if lost or not set(met) - set(anchors):
        raise HalignError(f"{lost[0] if lost else 'no model'} was not compared with {baseline}")
    if anchors and difficulty is None:
        raise HalignError("anchors belong to the full model, which needs each item's difficulty as well")
    found = {}
    for name in (n for n in met if n not in anchors):
        own, g = met[name], _difficulties(met, name, difficulty, anchors)
        found[name] = length_controlled(
            own.preferences,
            own.lengths,
            own.baseline_lengths,
            own.conversations,
            difficulty=None if g is None else [_known(g, i) for i in own.items],
            anchors=anchors_of(
                [(met[a].preferences, met[a].lengths, met[a].baseline_lengths) for a in anchors],
                [[_known(g, i) for i in met[a].items] for a in anchors],
            )
            if anchors and g is not None
            else None,
            level=level,
            resamples=resamples,
            seed=seed,
        )
    return found


@dataclass(frozen=True)
class _Met:
    """One model's comparisons with the baseline; all [n].

    Attributes:
        preferences: what it made of each, in [0, 1].
        lengths, baseline_lengths: characters.
    """

    items: list[str]
    preferences: Floats
    lengths: Floats
    baseline_lengths: Floats
    conversations: list[str]


def _against(matches: Matches, texts: Texts, baseline: str) -> dict[str, _Met]:
    if baseline not in matches.models:
        raise HalignError(f"{baseline} is none of the models compared: {', '.join(matches.models)}")
    base = matches.models.index(baseline)
    found = {}
    for other, name in enumerate(matches.models):
        here = np.flatnonzero(
            ((matches.a == other) & (matches.b == base)) | ((matches.a == base) & (matches.b == other))
        )
        if other == base or not len(here):
            continue
        items = [matches.items[i] for i in here]
        score = matches.score[here]
        found[name] = _Met(
            items,
            np.where(matches.a[here] == other, score, 1 - score),
            np.array([len(_reply(texts, i, name)) for i in items], dtype=float),
            np.array([len(_reply(texts, i, baseline)) for i in items], dtype=float),
            [matches.conversations[i] for i in here],
        )
    return found


def _difficulties(
    met: Mapping[str, _Met], model: str, difficulty: Difficulty, anchors: Collection[str]
) -> Mapping[str, float] | None:
    """Item -> g_x for the rows of ``model`` and of the anchors; None for the plain model."""
    if difficulty != "fit":
        return difficulty
    others = [name for name in met if name != model and name not in anchors]
    if len(others) < 2:
        raise HalignError(
            f"difficulties for {model} are fitted on the verdicts on two other models or more, and there are {len(others)}: "
            "compare more models with the baseline, or give a file of difficulties"
        )
    items = list(dict.fromkeys(i for of in met.values() for i in of.items))
    preferences, lengths = np.full((2, len(others), len(items)), np.nan)
    for row, name in enumerate(others):
        preferences[row], lengths[row] = _by_item(met[name], items)
    g = instruction_difficulty(preferences, lengths)
    return dict(zip(items, g.tolist(), strict=True))


def _by_item(rows: _Met, items: list[str]) -> tuple[Floats, Floats]:
    """[N] each, NaN where an item was not compared: the mean preference, and d / s."""
    place = {item: i for i, item in enumerate(items)}
    at = np.array([place[i] for i in rows.items])
    d = rows.lengths - rows.baseline_lengths
    spread = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    count = np.bincount(at, minlength=len(items)).astype(float)
    count[count == 0] = np.nan
    y = np.bincount(at, rows.preferences, len(items)) / count
    return y, np.bincount(at, d / (spread or 1.0), len(items)) / count


def _reply(texts: Texts, item: str, model: str) -> str:
    if (item, model) not in texts:
        shown = item.partition("\n")[0]
        raise HalignError(
            f"style and length are read off the replies, and {model}'s to {shown} is not in items.jsonl"
        )
    return texts[item, model]


def _known(difficulty: Mapping[str, float] | None, item: str) -> float:
    if difficulty is None or item not in difficulty:
        raise HalignError(f"no difficulty is given for {item.partition(chr(10))[0]}")
    return difficulty[item]
