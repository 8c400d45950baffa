"""Ratings with style held equal: Bradley-Terry with length and markdown as covariates (LMSYS 2024, "Does style matter?").

P(i beats j) = s(r_i - r_j + z . c), where z holds, for length (in words), headers, lists and bold spans,
(x_i - x_j) / (x_i + x_j + 1) over its root mean square. c is what style alone is worth in nats per unit of z.

One departure from Chatbot Arena's code: it also takes away the mean of each covariate. That mean depends on which model happens
to be called A, and taking it away makes the ratings depend on that too; here they do not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from halign.errors import HalignError
from halign.evaluate.bradley_terry import CENTRE, POINTS, hanging_apart
from halign.evaluate.choice import binary, fitted
from halign.evaluate.clusters import Floats, quantile
from halign.evaluate.intervals import Interval
from halign.evaluate.matches import Matches

STYLES = ("length", "headers", "lists", "bold")
_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s", re.MULTILINE)
_BOLD = re.compile(r"(\*\*|__)(?=\S)[^\n]+?(?<=\S)\1")


def style(text: str) -> tuple[int, int, int, int]:
    """Words, markdown headers, list items, bold spans; what stands in a fenced block of code counts as words alone.

    >>> style("# Title\\n- **one** thing\\n- two")
    (7, 1, 2, 1)
    """
    plain = _FENCED.sub("", text)
    return (
        len(text.split()),
        len(_HEADER.findall(plain)),
        len(_LIST.findall(plain)),
        len(_BOLD.findall(plain)),
    )


@dataclass(frozen=True)
class StyleControlled:
    """Attributes:
    ratings: model -> points on Elo's scale, mean 1000, with style held equal.
    coefficients: covariate -> nats that one root mean square more of it adds to the log-odds of winning.
    """

    ratings: dict[str, Interval]
    coefficients: dict[str, Interval]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "ratings": {k: i.to_dict() for k, i in self.ratings.items()},
            "coefficients": {k: i.to_dict() for k, i in self.coefficients.items()},
        }


def style_controlled(
    matches: Matches,
    of_a: Sequence[str],
    of_b: Sequence[str],
    *,
    prior: float = 0.0,
    level: float = 0.95,
) -> StyleControlled:
    """Ratings and what style is worth, with sandwich intervals clustered by conversation.

    Args:
        of_a, of_b: [n], the replies of A and B in each comparison.
        prior: ridge on ratings (nats) and coefficients: -prior/2 |w|^2. 0 is maximum likelihood.

    Raises:
        HalignError: as ``bradley_terry``; texts and comparisons differ in number.
    """
    codes, groups = matches.clusters
    if not len(of_a) == len(of_b) == len(matches):
        raise HalignError(f"{len(matches)} comparisons, but {len(of_a)} and {len(of_b)} replies")
    if groups < 2:
        raise HalignError(f"ratings need comparisons from at least two conversations, got {groups}")
    if prior == 0 and hanging_apart(matches) is not None:
        raise HalignError("no finite ratings: some models never won against others; set prior= to 0.1 or so")
    m, rows = len(matches.models), np.arange(len(matches))
    z = covariates([style(t) for t in of_a], [style(t) for t in of_b])
    kept = np.flatnonzero(z.any(0))  # a covariate that never differs says nothing
    design = np.zeros((len(matches), m + len(kept)))
    design[rows, matches.a], design[rows, matches.b] = 1, -1
    design[:, m:] = z[:, kept]
    if np.linalg.matrix_rank(design) < m - 1 + len(kept):
        raise HalignError(
            "style and model cannot be told apart: a covariate follows from who the models are; add comparisons of other models"
        )
    found = fitted(binary(design), np.stack([matches.score, 1 - matches.score], axis=1), ridge=prior)
    covariance = found.covariance(codes, groups)
    flat = np.eye(m) - 1 / m
    t = quantile(level, groups)
    points = CENTRE + POINTS * (flat @ found.weights[:m])
    half = t * POINTS * np.sqrt(np.diag(flat @ covariance[:m, :m] @ flat))
    of_style = t * np.sqrt(np.diag(covariance)[m:])
    n = np.bincount(np.concatenate([matches.a, matches.b]), minlength=m)
    return StyleControlled(
        {
            name: Interval(float(p), float(p - h), float(p + h), int(c), groups)
            for name, p, h, c in zip(matches.models, points, half, n, strict=True)
        },
        {
            STYLES[j]: Interval(float(w), float(w - h), float(w + h), len(matches), groups)
            for j, w, h in zip(kept, found.weights[m:], of_style, strict=True)
        },
    )


def covariates(of_a: Sequence[Sequence[float]], of_b: Sequence[Sequence[float]]) -> Floats:
    """(x_a - x_b) / (x_a + x_b + 1), each column over its root mean square: [n, p], 0 where two replies never differ."""
    x, y = np.asarray(of_a, dtype=float), np.asarray(of_b, dtype=float)
    ratio = (x - y) / (x + y + 1)
    scale = np.sqrt((ratio**2).mean(0))
    found: Floats = ratio / np.where(scale > 0, scale, 1.0)
    return found
