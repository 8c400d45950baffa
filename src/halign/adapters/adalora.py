"""AdaLoRA in a loop that is not peft's: its regulariser, and the moving of ranks after every optimiser step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from halign.adapters.build import kind_of
from halign.errors import HalignError

WARM_UP, SETTLED = 0.1, 0.3
"""Shares of the steps before ranks are first taken away, and after they are last moved."""
_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class Allocation:
    """Ranks of an AdaLoRA model's layers, from ``lora_rank`` each to ``adalora_target_rank`` on average.

    Args:
        model: with AdaLoRA adapters.
        steps: optimiser steps of the run.
        moving: False for adapters that an earlier run trained: their ranks are what that run left.

    Raises:
        HalignError: if the run is too short to move ranks in.
    """

    def __init__(self, model: Any, steps: int, *, moving: bool) -> None:
        self.model, self.moving = model, moving
        self.config = model.active_peft_config
        if not moving:
            return
        if steps < 3:
            raise HalignError(
                f"adapter=adalora: {steps} steps are too few to move ranks in; epochs or max_steps"
            )
        self.config.total_step = steps
        self.config.tinit, self.config.tfinal = round(WARM_UP * steps), round(SETTLED * steps)

    @classmethod
    def of(cls, model: Any, steps: int, *, moving: bool) -> Allocation | None:
        """For a model with AdaLoRA adapters; None for any other."""
        return cls(model, steps, moving=moving) if kind_of(model) == "adalora" else None

    def penalty(self) -> Tensor:
        """Mean distance of the factors from orthogonal ones, times peft's ``orth_reg_weight``; what peft's own forward adds to
        a loss. float32 [], differentiable."""
        name = self.model.active_adapter
        distances = []
        for path, p in self.model.named_parameters():
            if name in path and ("lora_A" in path or "lora_B" in path):
                square = p @ p.T if "lora_A" in path else p.T @ p
                distances.append(torch.linalg.matrix_norm(square - torch.eye(len(square), device=p.device)))
        return self.config.orth_reg_weight * torch.stack(distances).mean()

    def step(self, done: int) -> None:
        """Take ranks where they matter least. After the optimiser's step, while the gradients are still there.

        Args:
            done: optimiser steps done, this one included.
        """
        if self.moving:
            self.model.base_model.update_and_allocate(done)

    def state_tensors(self) -> dict[str, Tensor]:
        """Averages of importance and the pattern of ranks, for a resumed run."""
        if not self.moving:
            return {}
        allocator = self.model.base_model.rankallocator
        found = {f"rank.{kind}.{n}": t for kind in _AVERAGES for n, t in getattr(allocator, kind).items()}
        pattern = {
            f"rank.pattern.{n}": torch.tensor(kept) for n, kept in (self.config.rank_pattern or {}).items()
        }
        return {name: t.detach().cpu().contiguous() for name, t in (found | pattern).items()}

    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Put back what ``state_tensors`` gave, taking it out of ``tensors``."""
        if not self.moving:
            return
        allocator = self.model.base_model.rankallocator
        device = next(self.model.parameters()).device
        pattern: dict[str, list[bool]] = {}
        for key in [k for k in tensors if k.startswith("rank.")]:
            _, kind, name = key.split(".", 2)
            if kind == "pattern":
                pattern[name] = tensors.pop(key).tolist()
            else:
                getattr(allocator, kind)[name] = tensors.pop(key).to(device)
        self.config.rank_pattern = pattern or None
