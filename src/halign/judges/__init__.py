"""Judges: which of two replies is better, and what one is worth, by exact rules, models, or people."""

from halign.judges.labeller import Label, Labels, PairwiseLabeller
from halign.judges.language_model import LanguageModelJudge
from halign.judges.learned import PairwiseJudge, RewardJudge
from halign.judges.making import find_judge, human, llm, local, reward, rules
from halign.judges.protocol import Judge, Mark, Outcome, Ruling, Verdict, both_orders
from halign.judges.rubric import Rubric, load_rubric
from halign.judges.rules import DIMENSIONS, Grade, RulesJudge, verdict
from halign.judges.scorer import DirectScorer, Scores
from halign.judges.votes import HumanJudge

__all__ = [
    "DIMENSIONS",
    "DirectScorer",
    "Grade",
    "HumanJudge",
    "Judge",
    "Label",
    "Labels",
    "LanguageModelJudge",
    "Mark",
    "Outcome",
    "PairwiseJudge",
    "PairwiseLabeller",
    "RewardJudge",
    "Rubric",
    "Ruling",
    "RulesJudge",
    "Scores",
    "Verdict",
    "both_orders",
    "find_judge",
    "human",
    "llm",
    "load_rubric",
    "local",
    "reward",
    "rules",
    "verdict",
]
