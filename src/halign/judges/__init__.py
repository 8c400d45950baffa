"""Judges: which of two replies is better, on several dimensions, in four verdicts."""

from halign.judges.protocol import Judge, Outcome, Verdict, both_orders
from halign.judges.rules import DIMENSIONS, Grade, RulesJudge, verdict

__all__ = ["DIMENSIONS", "Grade", "Judge", "Outcome", "RulesJudge", "Verdict", "both_orders", "verdict"]
