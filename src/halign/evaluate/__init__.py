"""How good a model is and which of two is better, with intervals clustered by conversation."""

from halign.evaluate.agreement import Repeatability, cohen_kappa, krippendorff_alpha, repeatability
from halign.evaluate.bradley_terry import Ratings, bradley_terry
from halign.evaluate.comparing import compare, compare_all
from halign.evaluate.comparison import (
    Comparison,
    DimensionResult,
    compare_grades,
    compare_outcomes,
    compare_records,
)
from halign.evaluate.correction import Corrected, corrected_rate
from halign.evaluate.elo import elo
from halign.evaluate.frontier import Tilted, best_of_n, best_of_n_kl, jackknifed, tilted, win_rate
from halign.evaluate.intervals import Interval, advantage, bootstrap, bounded, difference, mean, rate, share
from halign.evaluate.kl import log_ratios
from halign.evaluate.length_control import Anchors, LengthControlled, length_controlled
from halign.evaluate.matches import Matches
from halign.evaluate.penalised import instruction_difficulty
from halign.evaluate.repeated import pass_at_k
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
from halign.evaluate.significance import benjamini_hochberg, clustered_t, holm, sign_flip
from halign.evaluate.standing import Standing
from halign.evaluate.style import StyleControlled, style_controlled
from halign.evaluate.win_rates import WinRate, win_rates, winning_score

__all__ = [
    "pass_at_k",
    "ALL",
    "Anchors",
    "Comparison",
    "Corrected",
    "DimensionResult",
    "GuardrailScore",
    "Interval",
    "LengthControlled",
    "Matches",
    "Ratings",
    "Repeatability",
    "Reply",
    "Scores",
    "StyleControlled",
    "Standing",
    "Tilted",
    "WinRate",
    "advantage",
    "benjamini_hochberg",
    "best_of_n",
    "best_of_n_kl",
    "bootstrap",
    "bounded",
    "bradley_terry",
    "by_guardrail",
    "clustered_t",
    "cohen_kappa",
    "compare",
    "compare_all",
    "compare_grades",
    "compare_outcomes",
    "compare_records",
    "conditioning",
    "corrected_rate",
    "difference",
    "elo",
    "holm",
    "instruction_difficulty",
    "jackknifed",
    "krippendorff_alpha",
    "length_controlled",
    "log_ratios",
    "mean",
    "measures",
    "paired",
    "rate",
    "repeatability",
    "repeats",
    "score",
    "share",
    "sign_flip",
    "style_controlled",
    "tilted",
    "win_rate",
    "win_rates",
    "winning_score",
]
