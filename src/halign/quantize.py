"""Loading a base in 4 or 8 bits through bitsandbytes, for adapters to be trained on (QLoRA)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from halign.errors import HalignError
from halign.scoring import unwrap

BITS = ("4bit", "8bit")


def quantization(bits: str, dtype: torch.dtype) -> Any:
    """What transformers wants to know about it.

    Args:
        bits: ``4bit`` (NF4, its scales quantised too) or ``8bit`` (LLM.int8).
        dtype: precision that 4-bit weights are unpacked to for a product.

    Raises:
        HalignError: for other words, or where bitsandbytes or a CUDA device is missing.
    """
    if bits not in BITS:
        raise HalignError(f"quantize {bits!r} is not one of {', '.join(BITS)}")
    if not torch.cuda.is_available():
        raise HalignError(
            f"quantize={bits} needs a CUDA GPU, and PyTorch sees none here; leave it out (the weights in bf16 take half the "
            "memory of fp32)"
        )
    if find_spec("bitsandbytes") is None:
        raise HalignError(
            f"quantize={bits} needs bitsandbytes, which is not installed: pip install bitsandbytes (or halign[quantize])"
        )
    from transformers import BitsAndBytesConfig

    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def is_quantized(model: nn.Module) -> bool:
    """True for a model whose weights are kept in few bits, by bitsandbytes or otherwise."""
    return bool(getattr(unwrap(model), "is_quantized", False))


def quantized_to(model: nn.Module) -> str | None:
    """The ``quantize`` that a model was loaded with; None for plain weights, or those that were quantised elsewhere."""
    config = getattr(unwrap(model).config, "quantization_config", None)
    chosen = [bits for bits in BITS if getattr(config, f"load_in_{bits}", False)]
    return chosen[0] if chosen and is_quantized(model) else None


def check_trainable(model: nn.Module) -> None:
    """A model without adapters is trained in full, for which its weights have to be numbers that can move a little.

    Raises:
        HalignError: if they are quantised.
    """
    if is_quantized(model):
        raise HalignError(
            "weights in 4 or 8 bits cannot be trained themselves: train adapters on them (lora_rank=16, say)"
        )
