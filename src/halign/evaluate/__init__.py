"""How good a model is and which of two is better, with intervals clustered by conversation."""

from halign.evaluate.comparing import compare, compare_all
from halign.evaluate.comparison import (
    Comparison,
    DimensionResult,
    compare_grades,
    compare_outcomes,
    compare_records,
)
from halign.evaluate.frontier import Tilted, best_of_n, best_of_n_kl, jackknifed, tilted, win_rate
from halign.evaluate.intervals import Interval, advantage, bootstrap, difference, mean, share
from halign.evaluate.kl import log_ratios
from halign.evaluate.replies import (
    ALL,
    GuardrailScore,
    Reply,
    Scores,
    by_guardrail,
    conditioning,
    measures,
    paired,
    repeats,
    score,
)
from halign.evaluate.standing import Standing

__all__ = [
    "ALL",
    "Comparison",
    "DimensionResult",
    "GuardrailScore",
    "Interval",
    "Reply",
    "Scores",
    "Standing",
    "Tilted",
    "advantage",
    "best_of_n",
    "best_of_n_kl",
    "bootstrap",
    "by_guardrail",
    "compare",
    "compare_all",
    "compare_grades",
    "compare_outcomes",
    "compare_records",
    "conditioning",
    "difference",
    "jackknifed",
    "log_ratios",
    "mean",
    "measures",
    "paired",
    "repeats",
    "score",
    "share",
    "tilted",
    "win_rate",
]
