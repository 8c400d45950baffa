"""Judges: which of two replies is better, by exact rules or by a language model, and what a reply is worth."""

from halign.judges.labeller import Label, Labels, PairwiseLabeller
from halign.judges.protocol import Judge, Outcome, Verdict, both_orders
from halign.judges.rules import DIMENSIONS, Grade, RulesJudge, verdict
from halign.judges.scorer import DirectScorer, Scores

__all__ = [
    "DIMENSIONS",
    "DirectScorer",
    "Grade",
    "Judge",
    "Label",
    "Labels",
    "Outcome",
    "PairwiseLabeller",
    "RulesJudge",
    "Scores",
    "Verdict",
    "both_orders",
    "verdict",
]
