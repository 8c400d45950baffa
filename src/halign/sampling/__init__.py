"""Replies from a model: one ``Sampler`` protocol, and the sampler for Hugging Face models."""

from halign.sampling.local import TransformersSampler
from halign.sampling.protocol import Progress, Sample, Sampler

__all__ = ["Progress", "Sample", "Sampler", "TransformersSampler"]
