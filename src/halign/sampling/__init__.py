"""Replies from a model: one ``Sampler`` protocol, samplers for Hugging Face models and for chat endpoints.

vLLM's is in ``halign.sampling.vllm``."""

from halign.sampling.local import TransformersSampler
from halign.sampling.protocol import Progress, Sample, Sampler
from halign.sampling.remote import EndpointSampler

__all__ = ["EndpointSampler", "Progress", "Sample", "Sampler", "TransformersSampler"]
