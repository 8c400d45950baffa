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
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    return [torch.ones(1_000_000) for _ in range(20)]
step(); step()
before = faults()
step()
print(faults() - before)
"""
    assert int(after_preparation(code)) < 2000  # of the 19,500 pages that a step fills
