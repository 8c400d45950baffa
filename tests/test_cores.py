"""Cores that a process may use, as control groups of either version say it."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

from halign.cores import cores, quota


def group(root, name, **files):
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (folder / file.replace("__", ".")).write_text(text + "\n")
    return root


@pytest.fixture
def own(tmp_path):
    return tmp_path / "own"


def test_version_2_and_the_tightest_of_the_groups_above(tmp_path, own):
    own.write_text("0::/a/b\n")
    root = group(tmp_path / "g", "a/b", cpu__max="max 100000")
    assert quota(root, own) == math.inf
    group(root, "a", cpu__max="250000 100000")
    assert quota(root, own) == 2.5
    group(root, "a/b", cpu__max="50000 100000")
    assert quota(root, own) == 0.5


def test_a_container_whose_own_group_is_the_root(tmp_path, own):
    own.write_text("0::/\n")
    assert quota(group(tmp_path / "g", "", cpu__max="200000 100000"), own) == 2


def test_version_1(tmp_path, own):
    own.write_text("4:memory:/m\n2:cpu,cpuacct:/docker/x\n")
    root = group(
        tmp_path / "g", "cpu,cpuacct/docker/x", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000"
    )
    assert quota(root, own) == 3
    group(root, "cpu,cpuacct/docker/x", cpu__cfs_quota_us="-1")
    assert quota(root, own) == math.inf


def test_no_groups_at_all(tmp_path, own):
    assert quota(tmp_path, own) == math.inf
    assert 1 <= cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_an_affinity_mask_counts():
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{first}}}); from halign.cores import cores; print(cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "1\n"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_wait_asleep_unless_the_environment_says_otherwise(environment, expected):
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import halign, os; print(os.environ.get('GOMP_SPINCOUNT'))"
    ran = subprocess.run([sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True)
    assert ran.stdout.strip() == expected
