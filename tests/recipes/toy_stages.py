"""Stages that worker processes can import."""

from __future__ import annotations

import json
import os
import time

from halign.errors import HalignError


def number(output, *, inputs, progress, threads, value, seconds=0.0):
    time.sleep(seconds)
    (output / "value.json").write_text(json.dumps(value))
    (output / "process").write_text(str(os.getpid()))
    (output / "threads").write_text(str(threads))
    progress(1, 1, "")


def torch_threads(output, *, inputs, progress, threads):
    import torch

    (output / "threads").write_text(str(torch.get_num_threads()))


def total(output, *, inputs, progress, threads):
    values = [json.loads((f / "value.json").read_text()) for f in inputs.values()]
    (output / "value.json").write_text(json.dumps(sum(values)))
    (output / "threads").write_text(str(threads))


def fails(output, *, inputs, progress, threads, once=""):
    (output / "half").write_text("half a result")
    if once and os.path.exists(once):
        return
    if once:
        open(once, "w").close()
    raise HalignError("no such thing")


def breaks(output, *, inputs, progress, threads):
    raise ZeroDivisionError("a bug")


def dies(output, *, inputs, progress, threads):
    os._exit(3)


def resumes(output, *, inputs, progress, threads):
    before = (output / "step").read_text() if (output / "step").exists() else "0"
    (output / "step").write_text(str(int(before) + 1))
    if before == "0":
        raise HalignError("interrupted")
