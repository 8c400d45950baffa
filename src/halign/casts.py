"""Under autocast: convert once what autocast would convert again and again.

Autocast converts the input of every linear layer from float32, so queries, keys and values convert the same hidden states three
times, and their gradients back three times. (Rotary tables would be another saving, but in bf16 they add half as much error again
as everything else together; docs/log.md.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SharedCasts(TorchFunctionMode):
    """While active, linear layers that read the same tensor one after the other share its conversion to autocast's dtype."""

    def __init__(self) -> None:
        super().__init__()
        self._last: tuple[Tensor, int, Tensor] | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.nn.functional.linear and args[0].dtype == torch.float32:
            args = (self._converted(args[0]), *args[1:])
        return func(*args, **(kwargs or {}))

    def _converted(self, x: Tensor) -> Tensor:
        if self._last is None or self._last[0] is not x or self._last[1] != x._version:
            self._last = (x, x._version, x.to(torch.get_autocast_dtype(x.device.type)))
        return self._last[2]
