"""What is asked of the processor and the C library."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest


def after_preparation(code: str) -> str:
    """What code prints in a process of its own, where nothing else has touched the allocator."""
    script = f"import torch\nfrom halign import processor\nprocessor.prepare()\n{code}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_tiny_numbers_are_zero() -> None:
    assert after_preparation("print((torch.tensor(1e-30) * torch.tensor(1e-12)).item())").strip() == "0.0"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_used_again_without_new_pages() -> None:
    code = """
import resource
from halign.lanes import Lanes
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step(lane=0):
    [torch.ones(1_000_000) for _ in range(20)]
    [torch.ones(6_000_000) for _ in range(4)]
for lanes in (Lanes(1), Lanes(2)):
    for _ in range(4): list(lanes.map(step, range(lanes.count)))
    before = faults()
    for _ in range(3): list(lanes.map(step, range(lanes.count)))
    print(faults() - before)
"""
    alone, side_by_side = map(int, after_preparation(code).split())
    assert alone < 6000  # of the 128,000 pages that three steps fill
    assert side_by_side < 40_000  # of 256,000; 74,000 if heaps went back
