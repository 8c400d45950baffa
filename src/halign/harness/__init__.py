"""Evaluation by log-likelihood: contexts and continuations, prefix-shared; lm-evaluation-harness with a Halign model.

``lm.HalignLM`` needs lm_eval and is not imported here.
"""

from __future__ import annotations

from halign.harness.likelihoods import Reading, likelihoods, text_encoder

__all__ = ["Reading", "likelihoods", "text_encoder"]
