"""Runs the stages of a pipeline: what is done already is not done again, what is independent runs side by
side.

Small models on a CPU gain more from two processes of one thread each than from one process of two threads,
so stages run in worker processes; a stage that has the machine to itself gets all cores that are idle.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from halign.cores import cores as available
from halign.errors import HalignError
from halign.recipes.display import Board, SilentBoard
from halign.recipes.stages import Stage, Store, in_order

Report = Callable[[int, int, str], None]
"""Called by a stage with (done, of how many, a note)."""

_queue: Any = None  # in a worker: where progress goes


@dataclass(frozen=True)
class Outcome:
    """What a run of the engine did.

    Attributes:
        folders: stage name -> its result.
        seconds: stage name -> seconds it took, now or when it was made.
        made: names of the stages that were run now; the others were there already.
    """

    folders: dict[str, Path]
    seconds: dict[str, float]
    made: list[str]


def run(
    wanted: Sequence[Stage], store: Store, *, workers: int | None = None, board: Board | None = None
) -> Outcome:
    """Make the wanted stages and what they need.

    Args:
        workers: processes at a time; 0 runs everything in this one. None: one per core, at most four, or one
            where there is a GPU.
        board: what shows the progress; None shows nothing.

    Raises:
        HalignError: a stage failed. Its message names it; results of the others stay.
    """
    stages = in_order(wanted)
    board = board or SilentBoard()
    todo = needed(stages, wanted, store)
    cores = available()
    if workers is None:
        workers = _default_workers(cores)
    workers = min(workers, max(1, len(todo))) if workers else 0
    board.start(stages, {s.name for s in stages if s not in todo and store.done(s)}, todo, max(1, workers))
    try:
        if todo and workers:
            _in_processes(todo, store, board, workers, cores)
        elif todo:
            _in_this_process(todo, store, board)
    finally:
        board.stop()
    there = [s for s in stages if store.done(s)]
    return Outcome(
        {s.name: store.folder(s) for s in there},
        {s.name: float(store.record(s)["seconds"]) for s in there},
        [s.name for s in todo],
    )


def needed(stages: Sequence[Stage], wanted: Sequence[Stage], store: Store) -> list[Stage]:
    """What has to be made, in order: wanted stages that are not there, and the missing inputs of those."""
    must: dict[str, Stage] = {}

    def visit(stage: Stage) -> None:
        if stage.name not in must and not store.done(stage):
            for one in stage.inputs.values():
                visit(one)
            must[stage.name] = stage

    for stage in wanted:
        visit(stage)
    return [s for s in stages if s.name in must]


def _default_workers(cores: int) -> int:
    import torch

    return 1 if torch.cuda.is_available() else min(cores, 4)


def _in_this_process(todo: list[Stage], store: Store, board: Board) -> None:
    for stage in todo:
        board.begin(stage.name)
        try:
            _call(stage, store, partial(board.progress, stage.name), threads=0)  # as many as there were
        except HalignError as error:
            board.fail(stage.name)
            raise HalignError(f"{stage.title or stage.name}: {error}") from error
        board.finish(stage.name)


def _in_processes(todo: list[Stage], store: Store, board: Board, workers: int, cores: int) -> None:
    context = multiprocessing.get_context("spawn")
    threads = max(1, cores // workers)
    with _environment(
        OMP_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1"
    ):  # bars of others would tear the display
        messages = context.Queue()
        pool = ProcessPoolExecutor(
            workers, mp_context=context, initializer=_enter, initargs=(messages, os.getpid())
        )
        try:
            with _terminable():
                _schedule(pool, messages, todo, store, board, workers, cores)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            _end(pool, patience=20.0 if interrupted else 0.0, tell=isinstance(error, _Terminated))
            raise
        pool.shutdown()


def _schedule(
    pool: ProcessPoolExecutor,
    messages: Any,
    todo: list[Stage],
    store: Store,
    board: Board,
    workers: int,
    cores: int,
) -> None:
    """Keep the workers busy, what the most work depends on first."""
    ahead = work_ahead(todo)
    waiting = {s.name: s for s in todo}
    running: dict[Future[None], Stage] = {}
    failures: list[tuple[Stage, BaseException]] = []
    while waiting or running:
        pending = {*waiting, *(s.name for s in running.values())}
        ready = [s for s in waiting.values() if not any(i.name in pending for i in s.inputs.values())]
        ready.sort(key=lambda s: -ahead[s.name])
        free = workers - len(running)
        if not failures:
            for stage in ready[:free]:
                beside = sum(s.cost for s in todo if s.name in pending and not _related(s, stage))
                threads = max(1, cores // workers)
                if beside < 0.25 * stage.cost:
                    threads = max(threads, round(_idle_cores(cores)))
                running[pool.submit(_work, stage, store.root, threads)] = stage
                del waiting[stage.name]
                board.begin(stage.name)
        elif not running:
            break
        finished, _ = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
        _drain(messages, board)
        for future in finished:
            stage = running.pop(future)
            error = future.exception()
            if error is None:
                board.finish(stage.name)
            else:
                board.fail(stage.name)
                failures.append((stage, error))
    if failures:
        stage, error = failures[0]
        if isinstance(error, HalignError):
            raise HalignError(f"{stage.title or stage.name}: {error}") from error
        if isinstance(error, BrokenProcessPool):
            raise HalignError(f"{stage.title or stage.name}: its process died (out of memory?)") from error
        raise error


def _idle_cores(cores: int) -> float:
    """How many cores nobody uses just now: the best of three looks, so that whatever ends at this moment (a job before, an
    installation) does not cost minutes. Threads that must wait for a busy core cost more than they bring.
    """
    import psutil  # accelerate brings it

    return cores * (1 - min(psutil.cpu_percent(interval=0.3) for _ in range(3)) / 100)


def _related(a: Stage, b: Stage) -> bool:
    """True if one of the two needs the other (or they are the same), so that they never run side by side."""
    return a.name == b.name or _needs(a, b) or _needs(b, a)


def _needs(stage: Stage, other: Stage) -> bool:
    return any(i.name == other.name or _needs(i, other) for i in stage.inputs.values())


def work_ahead(todo: Sequence[Stage]) -> dict[str, float]:
    """Seconds of work on the longest chain that starts with each stage."""
    ahead: dict[str, float] = {}
    for stage in reversed(list(todo)):
        after = [ahead[s.name] for s in todo if any(i.name == stage.name for i in s.inputs.values())]
        ahead[stage.name] = stage.cost + max(after, default=0.0)
    return ahead


def _drain(messages: Any, board: Board) -> None:
    while True:
        try:
            board.progress(*messages.get_nowait())
        except queue.Empty:
            break
    board.tick()


def _enter(messages: Any, parent: int) -> None:
    """First thing in a worker. Ctrl-C reaches it too; only a stage at work may answer it."""
    global _queue
    _queue = messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)  # nobody is left to work for

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """While it lasts, SIGTERM ends the run as Ctrl-C does, workers included."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: Any) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Terminated(KeyboardInterrupt):
    """SIGTERM came: unlike Ctrl-C on a terminal, to this process alone."""


def _work(stage: Stage, root: Path, threads: int) -> None:
    """In a worker: make one stage."""
    last = 0.0

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if time.monotonic() - last > 0.2 or done >= total:
            last = time.monotonic()
            _queue.put((stage.name, done, total, note))

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _call(stage, Store(root), report, threads)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(stage: Stage, store: Store, report: Report, threads: int) -> None:
    if store.done(stage):  # another run made it meanwhile
        return
    module, _, name = stage.function.partition(":")
    function = getattr(importlib.import_module(module), name)
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # for a torch that the stage is the first to import
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
    with store.work(stage) as folder:
        inputs = {n: store.folder(s) for n, s in stage.inputs.items()}
        function(folder, inputs=inputs, progress=report, threads=threads, **stage.settings)


def _end(pool: ProcessPoolExecutor, patience: float, tell: bool) -> None:
    """Stop the workers: they get ``patience`` seconds to save what they are at, once they know (``tell``)."""
    workers = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        if tell and worker.is_alive():
            os.kill(worker.pid, signal.SIGINT)
    until = time.monotonic() + patience
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
        if worker.is_alive():
            worker.terminate()


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Environment variables for the children; put back afterwards."""
    before = {k: os.environ.get(k) for k in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for k, v in before.items():
            if v is None:
                os.environ.pop(k, None)
            else:
                os.environ[k] = v
