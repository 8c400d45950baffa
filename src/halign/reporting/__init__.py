"""One self-contained HTML file that shows what was trained, what came of it, and what it cost."""

from halign.reporting.evidence import Evidence, GuardrailText, ModelEntry, Panel, Training
from halign.reporting.page import Report, render, report

__all__ = ["Evidence", "GuardrailText", "ModelEntry", "Panel", "Report", "Training", "render", "report"]
