"""A run's folder: enough to reproduce it, resume it, and report on it.

config.yaml        resolved settings          preflight.txt   what was checked before step 1
environment.json   versions and machine       metrics.jsonl   one row per step and evaluation
checkpoints/       to resume from             model/          the result, a plain Hugging Face folder
reward.json        of a reward model, accuracy and calibration on held-out comparisons
done               the result is complete
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from halign.adapters.build import has_adapters
from halign.errors import HalignError
from halign.models import RENDERING, Policy, environment, put_adapters
from halign.rewards.card import CARD

STATE = "halign_state"
CHANGEABLE = frozenset(
    {"save_every", "keep_checkpoints", "stop_below", "stop_drift", "tensorboard", "shared_trunk"}
)
"""Settings that change no number of a run, so that it may be resumed with others (a limit that stopped it, above all)."""


class RunFolder:
    """Reads and writes a run's folder. Everything that must not be half-written is written beside and renamed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.metrics_path = self.path / "metrics.jsonl"

    @property
    def done(self) -> bool:
        """True once the run has finished."""
        return (self.path / "done").exists()

    @property
    def model_path(self) -> Path:
        """Where the result is."""
        return self.path / "model"

    def clear(self) -> None:
        """Delete a run, but nothing that is not one.

        Raises:
            HalignError: if the folder holds something else.
        """
        if not self.path.exists():
            return
        if any(self.path.iterdir()) and not (self.path / "config.yaml").exists():
            raise HalignError(f"{self.path} is not a run folder; nothing in it was deleted")
        shutil.rmtree(self.path)

    def clear_unless_resumable(self) -> None:
        """Delete what a run left that was killed before its first checkpoint, if that is what is there."""
        if not self.done and self.latest_checkpoint() is None:
            self.clear()

    def start(self, config: Mapping[str, Any]) -> bool:
        """Create the folder, or check that it is the same run's. True if there is something to resume.

        Raises:
            HalignError: if the folder belongs to a run with other settings, or to no run at all.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        written = self.path / "config.yaml"
        if written.exists():
            if self.latest_checkpoint() is None and not self.metrics():
                self._write_start(
                    config
                )  # it stopped before its first step, at the preflight say: nothing is lost
                return False
            self.check(config)
            self._write_config(config)
            if self.latest_checkpoint() is None:
                self.forget_after(-1)
                return False
            return True
        if any(not p.name.endswith(".partial") for p in self.path.iterdir()):
            raise HalignError(f"{self.path} is not empty and no run folder; name another output")
        self._write_start(config)
        return False

    def check(self, config: Mapping[str, Any]) -> None:
        """Stop unless the folder's run has these settings.

        Raises:
            HalignError: if a setting differs that changes what comes out; it names each.
        """
        before = yaml.safe_load((self.path / "config.yaml").read_text())
        differing = sorted(k for k in {*before, *config} - CHANGEABLE if before.get(k) != config.get(k))
        if differing:
            changes = "; ".join(f"{k}: {before.get(k)!r} -> {config.get(k)!r}" for k in differing)
            raise HalignError(
                f"{self.path} holds an unfinished run with other settings ({changes}); "
                "name another output, or --overwrite"
            )

    def _write_start(self, config: Mapping[str, Any]) -> None:
        self._write_config(config)
        write_text(self.path / "environment.json", json.dumps(environment(), indent=1))

    def _write_config(self, config: Mapping[str, Any]) -> None:
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
        write_text(self.path / "config.yaml", text)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        with self.metrics_path.open("a") as file:
            file.write(json.dumps(dict(row)) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All rows so far. A last line that a dying process left unfinished is no row."""
        if not self.metrics_path.exists():
            return []
        lines = self.metrics_path.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines if line.strip()]

    def write_card(self, card: Mapping[str, Any]) -> None:
        """A reward model's accuracy and calibration at the last evaluation."""
        write_text(self.path / CARD, json.dumps(dict(card), indent=1))

    def forget_after(self, step: int) -> None:
        """Drop metrics of steps past the one being resumed from: they will be made again."""
        rows = [r for r in self.metrics() if r["step"] <= step]
        write_text(self.metrics_path, "".join(json.dumps(r) + "\n" for r in rows))

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        folder = self.path / "checkpoints"
        return sorted(p for p in folder.glob("step-*") if (p / f"{STATE}.json").exists())

    def latest_checkpoint(self) -> Path | None:
        """The newest complete checkpoint."""
        found = self.checkpoints()
        return found[-1] if found else None

    def save_checkpoint(
        self, policy: Policy, step: int, tensors: dict[str, Tensor], facts: Mapping[str, Any], keep: int
    ) -> Path:
        """Write a checkpoint: a plain Hugging Face folder plus the optimiser's and random states beside it."""
        target = self.path / "checkpoints" / f"step-{step:08d}"
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        policy.save(partial)
        save_file(tensors, partial / f"{STATE}.safetensors")
        write_text(partial / f"{STATE}.json", json.dumps({"step": step, **facts}))
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        for old in self.checkpoints()[:-keep]:
            shutil.rmtree(old)
        return target

    def finish(self, policy: Policy, facts: Mapping[str, Any]) -> None:
        """Write the result and the ``done`` marker, then drop the checkpoints."""
        partial = self.path / "model.partial"
        shutil.rmtree(partial, ignore_errors=True)
        policy.save(partial)
        write_text(partial / RENDERING, json.dumps(policy.rendering, indent=1))
        shutil.rmtree(self.model_path, ignore_errors=True)
        partial.rename(self.model_path)
        write_text(self.path / "done", json.dumps(dict(facts), indent=1))
        shutil.rmtree(
            self.path / "checkpoints", ignore_errors=True
        )  # until the marker stands they may be needed


def load_state(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and facts saved beside a checkpoint's model."""
    return load_file(checkpoint / f"{STATE}.safetensors"), json.loads(
        (checkpoint / f"{STATE}.json").read_text()
    )


def load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Put a checkpoint's weights back into a live model without adapters, bit for bit."""
    dtype = next(model.parameters()).dtype
    saved = type(model).from_pretrained(checkpoint, dtype=dtype)  # type: ignore[attr-defined]
    model.load_state_dict(saved.state_dict())


def load_result(policy: Policy, folder: Path) -> None:
    """Put a run's result into a policy: its weights into the model, or its adapters on it."""
    adapted = (folder / "adapter_config.json").exists()
    if adapted and not has_adapters(policy.model):
        policy.model = put_adapters(policy.model, folder)
        policy.__dict__.pop("capability", None)  # measured on the model as it was
    elif adapted:
        from peft import load_peft_weights, set_peft_model_state_dict

        set_peft_model_state_dict(policy.model, load_peft_weights(str(folder)))
    else:
        load_weights(policy.model, folder)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
