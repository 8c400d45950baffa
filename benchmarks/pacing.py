"""A side runs in its own process and is timed in windows: it warms up, then waits for a word before each.

So two sides take turns in one run, neither disturbs the other, and each has a peak memory of its own.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

Report = dict[str, Any]


@dataclass(frozen=True)
class Window:
    """Steps left out at first, steps timed at a time, and how often."""

    warmup: int
    steps: int
    repeats: int

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.warmup + self.steps * self.repeats


class Pacer:
    """In the side's process: counts steps, waits at the start of each window, reports at its end."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self._to_parent = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # what libraries print is no report
        self._loaded_mb = self._started = self._cpu = 0.0

    def loaded(self) -> None:
        """Libraries, model and data are in memory; what comes on top is the training's."""
        gc.collect()
        self._loaded_mb = memory("VmRSS")

    def step_done(self, done: int) -> None:
        """Call when a step is over, counted from 1."""
        into = done - self.window.warmup
        if done == max(1, self.window.warmup - 1):
            forget_peak()  # a step early, if there is one: the pages that it gives back are filled again before the clock starts
        if into < 0 or into % self.window.steps:
            return
        if into:
            self.report(
                seconds=time.perf_counter() - self._started, cpu_seconds=time.process_time() - self._cpu
            )
        else:
            self.report(loaded_mb=self._loaded_mb)
        if done < self.window.total:
            if not sys.stdin.readline():
                raise SystemExit("the other end is gone")
            self._started, self._cpu = time.perf_counter(), time.process_time()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """The last report."""
        self.report(**facts)

    def peak_mb(self) -> dict[str, float]:
        """Peak memory of the windows: above what was loaded, and whole."""
        peak = memory("VmHWM")
        return {"peak_mb": round(peak - self._loaded_mb, 1), "peak_rss_mb": round(peak, 1)}

    def report(self, **facts: Any) -> None:
        """Tell the parent."""
        print(json.dumps(facts), file=self._to_parent, flush=True)


def memory(field: str) -> float:
    """VmRSS (now) or VmHWM (peak) of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def forget_peak() -> None:
    """Give free memory back and start the peak anew from what is in use."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


class Side:
    """In the parent: a side's process."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = dict(spec)
        self._log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115
        threads = {name: str(spec["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        quiet = {
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", json.dumps(self.spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **threads, **quiet},
            cwd=Path(__file__).parents[1],
        )

    def read(self) -> Report:
        """The next report.

        Raises:
            SystemExit: if the process ended, with the end of what it said.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise SystemExit(f"{self.spec['side']} failed:\n{self._log.read()[-3000:]}")
        found: Report = json.loads(line)
        return found

    def go(self) -> Report:
        """One window; its report."""
        assert self._process.stdin
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            if pipe:
                pipe.close()
