"""Conversations, not only turns: users who are simulated, adversaries with a script, and judges of whole dialogues."""

from halign.dialogues.chart import FlowChart, read_charts
from halign.dialogues.chart_judge import FlowChartJudge, Following, following
from halign.dialogues.passing import all_of, any_of, curves
from halign.dialogues.persona import Persona, read_persona

__all__ = [
    "FlowChart",
    "FlowChartJudge",
    "Following",
    "Persona",
    "all_of",
    "any_of",
    "curves",
    "following",
    "read_charts",
    "read_persona",
]
