"""What adapters train, as plain tensors: for a resumed run, bit for bit, whatever a kind's own file leaves out (AdaLoRA's drops
the ranks that are switched off for now)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_PREFIX = "trained."


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The trainable parameters by name, on the CPU."""
    return {
        _PREFIX + name: p.detach().cpu().contiguous()
        for name, p in model.named_parameters()
        if p.requires_grad
    }


@torch.no_grad()
def load_trained_tensors(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put back what ``trained_tensors`` gave, taking it out of ``tensors``."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(tensors.pop(_PREFIX + name))
