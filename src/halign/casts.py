"""Under autocast: convert once what autocast would convert again and again, or not at all.

Autocast converts the input of every linear layer from float32, so queries, keys and values convert the same hidden states three
times, and their gradients back three times. (Rotary tables would be another saving, but in bf16 they add half as much error again
as everything else together; docs/log.md.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from halign.products import LinearMode


class SharedCasts(LinearMode):
    """While active, linear layers that read the same tensor one after the other share its conversion to autocast's dtype."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Tensor, int, Tensor] | None = None

    def linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """With its input converted, where autocast would convert it (a model may switch autocast off for a layer)."""
        if input.dtype == torch.float32 and torch.is_autocast_enabled(input.device.type):
            input = self._converted(input)
        return torch.nn.functional.linear(input, weight, bias)

    def _converted(self, x: Tensor) -> Tensor:
        if self._last is None or self._last[0] is not x or self._last[1] != x._version:
            self._last = (x, x._version, x.to(torch.get_autocast_dtype(x.device.type)))
        return self._last[2]


def linear_fp32(head: Any, hidden: Tensor) -> Tensor:
    """What a linear layer makes of hidden states [M, d], computed in fp32 whatever surrounds it: float32 [M, k]."""
    with torch.autocast(hidden.device.type, enabled=False):
        bias = None if head.bias is None else head.bias.float()
        return nn.functional.linear(hidden.float(), head.weight.float(), bias)
