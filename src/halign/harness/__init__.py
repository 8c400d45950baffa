"""Evaluation by log-likelihood: multiple choice, TruthfulQA, comparisons, perplexity; lm-evaluation-harness with a Halign model.

``halign.harness.lm`` needs lm_eval and is imported only where that is asked for.
"""

from __future__ import annotations

from halign.harness.choices import MultipleChoice, Question, multiple_choice
from halign.harness.likelihoods import Reading, likelihoods, text_encoder
from halign.harness.perplexity import Perplexity, perplexity
from halign.harness.preferences import Preferred, preferred
from halign.harness.run import harness
from halign.harness.truthfulqa import TruthfulQA, truthfulqa

__all__ = [
    "MultipleChoice",
    "Perplexity",
    "Preferred",
    "Question",
    "Reading",
    "TruthfulQA",
    "harness",
    "likelihoods",
    "multiple_choice",
    "perplexity",
    "preferred",
    "text_encoder",
    "truthfulqa",
]
