"""Optimisers and schedules, and their state as plain tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Optimizers = list[torch.optim.Optimizer]


def build(
    model: nn.Module,
    name: str,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    embedding_learning_rate: float | None = None,
) -> Optimizers:
    """Optimisers over the trainable parameters.

    Args:
        name: ``adamw``; ``sgd`` (no momentum); or ``muon``: Muon on the matrices of the layers, AdamW on embeddings, head, norms
            and biases (at ``embedding_learning_rate``).
        weight_decay: decoupled, on matrices only.
    """
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    matrices = [p for n, p in trainable if p.dim() >= 2]
    rest = [p for n, p in trainable if p.dim() < 2]
    fused = all(p.device.type in ("cpu", "cuda") for _, p in trainable)
    if name == "sgd":
        return [torch.optim.SGD([p for _, p in trainable], lr=learning_rate, weight_decay=weight_decay)]
    if name == "adamw":
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
        return [
            torch.optim.AdamW([g for g in groups if g["params"]], learning_rate, betas, epsilon, fused=fused)
        ]
    if name == "muon":
        hidden = [p for n, p in trainable if p.dim() == 2 and not _is_embedding(n)]
        ids = {id(p) for p in hidden}
        others = [p for _, p in trainable if id(p) not in ids]
        built: Optimizers = []  # adapters leave nothing to AdamW
        if hidden:
            built.append(torch.optim.Muon(hidden, lr=learning_rate, weight_decay=weight_decay))
        if others:
            rate = embedding_learning_rate or learning_rate
            built.append(torch.optim.AdamW(others, rate, betas, epsilon, 0.0, fused=fused))
        return built
    raise ValueError(f"no optimizer {name!r}")


def _is_embedding(name: str) -> bool:
    return any(word in name for word in ("embed", "lm_head", "wte", "wpe", "embed_out", "score"))


def schedule(name: str, *, steps: int, warmup: int, floor: float = 0.0) -> Callable[[int], float]:
    """Factor on the learning rate at a step (from 0): linear warm-up, then constant, linear or cosine decay to ``floor``.

    >>> f = schedule("linear", steps=12, warmup=2)
    >>> [round(f(i), 3) for i in (0, 1, 2, 7, 11)]
    [0.5, 1.0, 1.0, 0.5, 0.1]
    """
    decay: dict[str, Callable[[float], float]] = {
        "constant": lambda done: 1.0,
        "linear": lambda done: 1.0 - done,
        "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    }
    if name not in decay:
        raise ValueError(f"no schedule {name!r}")

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, steps - warmup)
        return floor + (1 - floor) * decay[name](done)

    return factor


def set_learning_rate(optimizers: Optimizers, base: Sequence[Sequence[float]], factor: float) -> None:
    """Set every group's learning rate to its base times the factor."""
    for optimizer, rates in zip(optimizers, base, strict=True):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor


def base_rates(optimizers: Optimizers) -> list[list[float]]:
    """Learning rate of every group of every optimiser."""
    return [[float(g["lr"]) for g in o.param_groups] for o in optimizers]


def state_tensors(optimizers: Optimizers) -> dict[str, Tensor]:
    """The optimisers' state as a flat dict of tensors (for safetensors)."""
    found: dict[str, Tensor] = {}
    for k, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensor = value if isinstance(value, Tensor) else torch.tensor(value)
                found[f"{k}.{index}.{name}"] = tensor.detach().cpu().contiguous()
    return found


def load_state_tensors(optimizers: Optimizers, tensors: dict[str, Tensor]) -> None:
    """Put back what ``state_tensors`` gave."""
    for k, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            which, index, name = key.split(".", 2)
            if int(which) == k:
                state.setdefault(int(index), {})[name] = value
        whole = optimizer.state_dict()
        optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})
