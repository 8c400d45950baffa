"""What a process that computes on a CPU asks of the processor and of the C library.

A training step allocates and frees the same megabytes over and over. glibc hands freed memory back to the kernel, which then has
to map and clear every page again: on a virtual machine that can cost more than the arithmetic. And numbers below 1e-38, which
softmax and second moments are full of once a model has learnt something, take a slow path in most processors unless they are
flushed to zero. Measurements: docs/log.md. torch counts the machine's cores; ``cores`` counts those that this process may use.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform

import torch

from halign.cores import cores

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # malloc.h of glibc
KEEP_FREED = 2**31 - 1
"""Bytes of freed memory that the process keeps for its next step (mallopt takes an int)."""
HEAP_BYTES = 2**26
"""A heap of a thread that is not the first one (glibc's HEAP_MAX_SIZE). It goes back to the kernel when nothing in it is in use,
unless this much is to be kept in reserve; the reserve takes addresses, no memory."""
FROM_HEAP = 2**25
"""Bytes up to which an allocation comes from the heap rather than from a mapping of its own."""


@functools.cache
def prepare() -> None:
    """Once per process, before the first heavy computation: no more threads than cores (OMP_NUM_THREADS, where set, rules), keep
    freed memory, flush denormal numbers to zero.

    Threads inherit the last when they are started, so this has to come before torch starts its own. Does nothing where the C
    library is not glibc or the processor cannot flush.
    """
    torch.set_flush_denormal(True)
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > cores():
        torch.set_num_threads(cores())
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, FROM_HEAP)
        libc.mallopt(_M_TRIM_THRESHOLD, KEEP_FREED)
        libc.mallopt(_M_TOP_PAD, HEAP_BYTES)
