"""Loops that sample as they learn: policy gradients (``ppo`` ...) and rounds of sampling, labelling and training (``raft`` ...).

One file per loop, which holds a ``LOOP``; ``run`` runs one by name.
"""

from halign.loops.contract import Loop, LoopSettings, Task
from halign.loops.registry import find, names, run

__all__ = ["Loop", "LoopSettings", "Task", "find", "names", "run"]
