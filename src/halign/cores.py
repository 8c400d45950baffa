"""How many processor cores this process may use, and how its threads wait for each other. Needs no torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
SPINS = "5000"
"""Turns of an empty loop before a thread that waits for others goes to sleep. libgomp's default is some 300,000
(milliseconds), which keeps a core from whoever has work to do: beside other jobs, training was half as fast (docs/log.md). On
idle cores it is the same."""


def spin_briefly() -> None:
    """Have OpenMP threads wait asleep rather than busy, unless the environment already says how. Before torch is imported."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


def cores() -> int:
    """Cores that this process may run on, and has time for: at least 1.

    Fewer than the machine has where an affinity mask (taskset, Slurm) or a quota of processor time (``docker run --cpus 2``,
    limits of Kubernetes) says so. More threads than a quota feeds are stopped for the rest of every period of 100 ms.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(allowed, quota())))


def quota(groups: Path = GROUPS, own: Path = OWN) -> float:
    """Cores' worth of processor time that control groups (version 1 or 2) leave this process; infinity without a limit."""
    return min((_of_group(folder) for folder in _folders(groups, own)), default=math.inf)


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """This process's group and all above it, which limit it too. In a container its own group is the root."""
    lines = own.read_text().splitlines() if own.exists() else []
    for _, controllers, name in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers and "cpu" not in controllers.split(","):
            continue
        path = PurePosixPath(name.lstrip("/"))
        for part in (path, *path.parents):
            yield groups / controllers / part
    yield groups
    yield groups / "cpu"


def _of_group(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            granted, period = (folder / "cpu.max").read_text().split()
        else:
            granted = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(granted) / int(period) if int(granted) > 0 else math.inf
    except (OSError, ValueError):  # no such group, or "max"
        return math.inf
