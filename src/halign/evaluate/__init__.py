"""How good a model is and which of two is better, with intervals clustered by conversation."""

from halign.evaluate.comparing import compare
from halign.evaluate.comparison import Comparison, DimensionResult, compare_grades, compare_outcomes
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

__all__ = [
    "ALL",
    "Comparison",
    "DimensionResult",
    "GuardrailScore",
    "Interval",
    "Reply",
    "Scores",
    "advantage",
    "bootstrap",
    "by_guardrail",
    "compare",
    "compare_grades",
    "compare_outcomes",
    "conditioning",
    "difference",
    "log_ratios",
    "mean",
    "measures",
    "paired",
    "repeats",
    "score",
    "share",
]
