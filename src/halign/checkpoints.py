"""Checkpoints of a run, to go on from bit for bit: the model, and the state of everything else that changes as training goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from halign.adapters.build import has_adapters
from halign.adapters.state import load_trained_tensors, trained_tensors
from halign.models import Policy
from halign.run_folder import RunFolder, load_state, load_weights

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """Something that a checkpoint holds beside the model.

    Attributes:
        save: gives its state as tensors.
        load: puts it back, taking its tensors out of the dict.
    """

    save: Callable[[], Tensors]
    load: Callable[[Tensors], Any]


class Checkpoints:
    """Saves the checkpoints of a run folder, and puts the newest one back.

    Args:
        parts: what changes beside the model, in the order in which it is put back.
        keep: how many checkpoints stay; older ones are deleted.
    """

    def __init__(self, folder: RunFolder, policy: Policy, parts: Sequence[Part], keep: int) -> None:
        self.folder, self.policy, self.keep = folder, policy, keep
        adapters = Part(partial(trained_tensors, policy.model), partial(load_trained_tensors, policy.model))
        self.adapted = has_adapters(policy.model)
        self.parts = [*([adapters] if self.adapted else []), *parts]

    def save(self, done: int) -> None:
        """Write one after ``done`` steps."""
        tensors: Tensors = {}
        for part in self.parts:
            tensors |= part.save()
        self.folder.save_checkpoint(self.policy, done, tensors, {}, self.keep)

    def resume(self) -> int:
        """Put the newest one back; the steps it had done, 0 if there is none."""
        newest = self.folder.latest_checkpoint()
        if newest is None:
            return 0
        tensors, facts = load_state(newest)
        if not self.adapted:
            load_weights(self.policy.model, newest)
        for part in self.parts:
            part.load(tensors)
        return int(facts["step"])


def random_state() -> Tensors:
    """torch's random states, as tensors."""
    found = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        found["random.cuda"] = torch.cuda.get_rng_state()
    return found


def set_random_state(tensors: Tensors) -> None:
    """Put back what ``random_state`` gave, taking it out of ``tensors``."""
    torch.set_rng_state(tensors.pop("random.cpu"))
    cuda = tensors.pop("random.cuda", None)
    if cuda is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(cuda)
