"""Samplers by what the command line says: a model on this machine, in vLLM, or behind an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.llm import Budget

ENGINES = ("transformers", "vllm")


def refuse(given: Mapping[str, Any], why: str) -> None:
    """Stop at options that would have no effect.

    Raises:
        HalignError: one of them is set (not None and not False).
    """
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, False)]
    if names:
        raise HalignError(f"{', '.join(names)} would have no effect {why}: leave it out")


def sampler_here(
    model: str,
    prefix: str | None = None,
    device: str | None = None,
    quantize: str | None = None,
    engine: str = "transformers",
) -> Any:
    """A sampler for a folder, run folder or hub name.

    Raises:
        HalignError: there is no such engine or model, or vLLM is given what only transformers takes.
    """
    if engine not in ENGINES:
        raise HalignError(f"--engine {engine} is not one of {', '.join(ENGINES)}")
    if engine == "vllm":
        from halign.sampling.vllm import VLLMSampler

        refuse({"device": device, "quantize": quantize}, "with --engine vllm")
        return VLLMSampler(model, prefix=prefix)
    import torch

    from halign.models import load
    from halign.sampling import TransformersSampler

    policy = load(model, device=device or ("cuda" if torch.cuda.is_available() else None), quantize=quantize)
    return TransformersSampler(policy, prefix=prefix)


def sampler_at(url: str, model: str, *, budget: float | Budget | None = None, **settings: Any) -> Any:
    """A sampler for a model behind an OpenAI-compatible endpoint; ``settings`` of ``Endpoint``, None for its defaults.

    Raises:
        HalignError: a setting is out of range.
    """
    from halign.llm import Client, Endpoint
    from halign.sampling import EndpointSampler

    endpoint = Endpoint(url, model, **{k: v for k, v in settings.items() if v is not None})
    return EndpointSampler(Client(endpoint, budget=budget))
