"""One trunk in memory for several models: weights that are frozen and equal are held once.

A reward model with adapters, a critic with adapters and a policy with adapters on the same base differ by a few per cent of their
weights. Each stays a model of its own, with its adapters, head, modes and masks; only the base's ``Parameter`` objects are the
same. So no adapter has to be switched: a pass through one model cannot meet the others' adapters, freeze what they train
(peft's ``set_adapter`` and ``disable_adapter`` set ``requires_grad`` of every adapter on a model), or compute a checkpointed
layer again with other adapters than in the forward pass. A move to a device moves one object, for all of them.

What is shared is decided by comparing the weights themselves. It stays right as long as nobody changes the base in place:
training adapters never does, ``merge_and_unload`` does.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from halign.adapters.build import has_adapters
from halign.scoring import backbone

_WRAPPERS = frozenset({"base_layer", "original_module"})
"""What peft puts into the path of a weight of the base."""
_IN_FULL = "modules_to_save"
"""In the path of a copy that is trained in place of a weight of the base."""


def share_trunk(model: nn.Module, owner: nn.Module) -> None:
    """Let a model use the trunk weights of another: each that has the same name in the backbone, is a frozen plain tensor in
    both, and is equal in shape, precision and every element. The model's own copy of it is freed unless somebody else holds it.

    Trained modules (adapters, ``modules_to_save``, a head) are no part of it: every model keeps its own.

    Args:
        model: a language model or a sequence-classification model, possibly wrapped by peft; changed.
        owner: whose weights are taken; not changed.
    """
    theirs = _trunk(owner)
    for name, (module, key) in _trunk(model).items():
        own = getattr(module, key)
        if name in theirs and _equal(own, found := getattr(*theirs[name])):
            setattr(module, key, found)


def copy_of(model: nn.Module, *, share: bool) -> nn.Module:
    """A copy of a model.

    Args:
        share: of frozen parameters there is no copy: both models hold the same ones.
    """
    same = {id(p): p for p in model.parameters() if share and not p.requires_grad}
    return copy.deepcopy(model, dict(same))


def shared_bytes(model: nn.Module, owner: nn.Module) -> tuple[int, int]:
    """(bytes of a model's parameters that are its owner's too, bytes of all its parameters).

    >>> a, b = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> a.weight = b.weight
    >>> shared_bytes(a, b)
    (24, 32)
    """
    owned = {id(p) for p in owner.parameters()}
    own = list(model.parameters())
    return sum(p.nbytes for p in own if id(p) in owned), sum(p.nbytes for p in own)


def _trunk(model: Any) -> dict[str, tuple[nn.Module, str]]:
    """Where the weights of a model's backbone lie, adapters left out: (module, attribute) by the name without adapters."""
    prefix = getattr(model.base_model, "prefix", "") if has_adapters(model) else ""
    found: dict[str, tuple[nn.Module, str]] = {}
    for path, module in backbone(model).named_modules(remove_duplicate=False):
        for key in module._parameters:
            parts = f"{path}.{key}".split(".")
            trained = _IN_FULL in parts or (prefix and any(part.startswith(prefix) for part in parts))
            if not trained and module._parameters[key] is not None:
                found[".".join(part for part in parts if part not in _WRAPPERS)] = (module, key)
    return found


def _equal(a: nn.Parameter, b: nn.Parameter) -> bool:
    """Both frozen and plain (quantised ones are parameters of a type of their own), and the same numbers."""
    if a is b:
        return True
    plain = type(a) is nn.Parameter and type(b) is nn.Parameter and not (a.requires_grad or b.requires_grad)
    return plain and a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b.to(a.device))
