"""The process of one side, started by ``benchmarks.pacing.Side``: `python -m benchmarks.side SPEC`, a JSON
object."""

from __future__ import annotations

import importlib
import json
import sys

import torch

from benchmarks.pacing import Pacer, Window

if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    torch.set_num_threads(spec["threads"])
    module = importlib.import_module(
        "benchmarks.side_trl" if spec["side"] == "trl" else "benchmarks.side_halign"
    )
    module.run(spec, Pacer(Window(**spec["window"])))
