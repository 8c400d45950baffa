"""Programs that a model wrote, run in a process of their own with limits.

The process is a bare interpreter (no site packages, no environment) in an empty temporary folder. It has limits of seconds on
the clock and of the processor, of memory, of file sizes and of open files; where the kernel lets it, it is in a user and network
namespace of its own, without any network. An audit hook of the interpreter refuses sockets, other processes, signals, loading
foreign code, and files outside the folder and the standard library.

That stops programs that are wrong, not ones that mean harm: an interpreter is no wall (one that searches its caller's frames
can find the word that says "passed"). Run those in a container or machine of their own.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from halign.cores import cores

RUNNER = Path(__file__).with_name("sandbox_runner.py")
_GRACE = 2.0  # seconds for the interpreter to start and end


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Attributes:
        seconds: on the clock, and of the processor.
        memory: address space, in MiB.
    """

    seconds: float = 10.0
    memory: int = 1024


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        passed: it ran to its end without an error.
        said: "passed", "timed out", or the error.
        isolated: it had a network namespace of its own.
    """

    passed: bool
    said: str
    isolated: bool


def run_program(program: str, limits: Limits | None = None) -> Outcome:
    """Run a Python program to its end.

    An early ``sys.exit(0)`` is no pass: what counts is a word, not known to the program, that is said after its last line.
    """
    limits = limits or Limits()
    word = secrets.token_hex(16)
    told = f"{word} {limits.seconds} {limits.memory << 20}\n{program}".encode("utf-8", "replace")
    with tempfile.TemporaryDirectory(prefix="halign-code-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-c", RUNNER.read_text()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"HOME": folder, "TMPDIR": folder},
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(told, timeout=limits.seconds + _GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            return Outcome(False, "timed out", b"isolated\n" in out)
    lines = out.decode(errors="replace").split("\n")
    isolated = "isolated" in lines
    if f"{word} passed" in lines:
        return Outcome(True, "passed", isolated)
    said = next((line.partition(" ")[2] for line in lines if line.startswith(word)), "")
    if process.returncode == -signal.SIGXCPU:
        said = "timed out"
    return Outcome(False, said or f"ended early (exit code {process.returncode})", isolated)


def run_programs(programs: Sequence[str], limits: Limits | None = None) -> list[Outcome]:
    """Several programs, as many at once as there are processors, four at most."""
    with ThreadPoolExecutor(min(4, cores())) as pool:
        return list(pool.map(lambda p: run_program(p, limits), programs))
