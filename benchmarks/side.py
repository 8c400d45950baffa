"""The process of one side, started by ``benchmarks.pacing.Side``: `python -m benchmarks.side SPEC`, a JSON
object."""

from __future__ import annotations

import importlib
import json
import sys

import torch

from benchmarks.pacing import Pacer, Window

MODULES = {"ours": "halign", "separate": "halign"}
"""Sides whose module has another name."""

if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    torch.set_num_threads(spec["threads"])
    module = importlib.import_module(f"benchmarks.side_{MODULES.get(spec['side'], spec['side'])}")
    module.run(spec, Pacer(Window(**spec["window"])))
