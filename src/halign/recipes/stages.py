"""A stage of a pipeline, its key, and the store where results lie.

A stage's key is a hash of what it does (function and version), of its settings, and of its inputs' keys, so
that a change anywhere upstream makes new results and leaves the old ones alone. A result is a folder; it
exists whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from halign.errors import HalignError

RECORD = "stage.json"
READ = "inputs.json"  # in an unfinished folder: which results it was begun from


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline.

    Attributes:
        name: unique within a pipeline; becomes part of the folder's name.
        function: "package.module:function", called with (output folder, inputs, progress, threads,
            **settings).
        version: raise it when the function's results change; part of the key.
        settings: JSON-ready keyword arguments.
        inputs: name -> the stage whose folder is handed over under that name.
        title, why: what is being done, and what it is good for, in words for the display.
        cost: a guess of the seconds it takes; only for the display's estimate and for the order of work.
        resumable: what an interrupted run left behind is handed over again instead of being deleted.
    """

    name: str
    function: str
    version: str = "1"
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Stage] = field(default_factory=dict)
    title: str = ""
    why: str = ""
    cost: float = 1.0
    resumable: bool = False

    @cached_property
    def key(self) -> str:
        """Hash of everything the result depends on."""
        content = {
            "function": self.function,
            "version": self.version,
            "settings": self.settings,
            "inputs": {name: stage.key for name, stage in self.inputs.items()},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def in_order(wanted: Sequence[Stage]) -> list[Stage]:
    """The wanted stages and all they need, each after its inputs.

    Raises:
        HalignError: if two different stages share a name.
    """
    seen: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        for needed in stage.inputs.values():
            visit(needed)
        known = seen.setdefault(stage.name, stage)
        if known.key != stage.key:
            raise HalignError(f"two different stages are called {stage.name!r}")

    for stage in wanted:
        visit(stage)
    return list(seen.values())


class Store:
    """Where results lie: one folder per stage, named by its name and key."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, stage: Stage) -> Path:
        """Where the stage's result is, or will be."""
        return self.root / f"{stage.name.replace('/', '-')}-{stage.key}"

    def done(self, stage: Stage) -> bool:
        """True if the result is there."""
        return (self.folder(stage) / RECORD).exists()

    def record(self, stage: Stage) -> dict[str, Any]:
        """What is known about a finished stage: settings, seconds, when."""
        found: dict[str, Any] = json.loads((self.folder(stage) / RECORD).read_text())
        return found

    def _made(self, stage: Stage) -> str:
        """When a result was made: one that was deleted and made again is, in its last bits, another."""
        return str(self.record(stage)["finished"]) if self.done(stage) else ""

    @contextlib.contextmanager
    def work(self, stage: Stage) -> Iterator[Path]:
        """A folder to work in; it becomes the result when the block ends well. Results of others are not
        touched. What an interrupted run of a resumable stage left is handed over again if its inputs' results
        are the ones that it was begun from.

        Raises:
            HalignError: if another process is at work on the same stage.
        """
        final = self.folder(stage)
        partial = final.with_name(final.name + ".partial")
        with _lock(final.with_name(final.name + ".lock"), stage.name):
            read = json.dumps({n: self._made(s) for n, s in stage.inputs.items()}, sort_keys=True)
            if not stage.resumable or _text(partial / READ) != read:
                shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True, exist_ok=True)
            (partial / READ).write_text(read)
            start = time.time()
            try:
                yield partial
            except BaseException:
                if not stage.resumable:
                    shutil.rmtree(partial, ignore_errors=True)
                raise
            record = {
                "name": stage.name,
                "key": stage.key,
                "function": stage.function,
                "version": stage.version,
                "settings": dict(stage.settings),
                "inputs": {n: s.key for n, s in stage.inputs.items()},
                "seconds": round(time.time() - start, 2),
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S"),
            }
            (partial / READ).unlink(missing_ok=True)
            (partial / RECORD).write_text(json.dumps(record, indent=1))
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)


def _text(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


@contextlib.contextmanager
def _lock(path: Path, name: str) -> Iterator[None]:
    """Holds a file that names this process; a lock whose process is gone is taken over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            if _alive(path):
                raise HalignError(
                    f"another process is already at work on {name!r}; wait for it, or delete {path}"
                ) from None
            path.unlink(missing_ok=True)
        else:
            break
    else:
        raise HalignError(f"another process has just started on {name!r}")
    with os.fdopen(handle, "w") as file:
        file.write(str(os.getpid()))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _alive(path: Path) -> bool:
    """True if the process named in a lock file runs (on this machine)."""
    try:
        pid = int(path.read_text() or 0)
    except (OSError, ValueError):
        return False
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
