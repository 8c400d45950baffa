"""What is evaluated: a model in this process, one behind a sampler, or outputs that were stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.suites.answers import Stored


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        name: what records call it.
        answers: a sampler, or stored outputs.
        policy: the model, where it is in this process.
        version: what tells its weights from others of the same name, for resuming.
    """

    name: str
    answers: Any
    policy: Any = None
    version: str = ""


def subject(model: Any, name: str | None = None, folder: Path | None = None) -> Subject:
    """A folder, run folder or hub name, a policy, a sampler, or a file of stored outputs, as a subject.

    Args:
        folder: where a sampler's model comes from.

    Raises:
        HalignError: it cannot be loaded.
    """
    if isinstance(model, Subject):
        return model
    if hasattr(model, "sample"):
        return Subject(
            name or type(model).__name__,
            model,
            getattr(model, "policy", None),
            _version(folder) if folder else "",
        )
    if isinstance(model, str | Path) and Path(model).is_file():
        stored = Stored.read(Path(model))
        return Subject(name or stored.name, stored, version=str(Path(model).stat().st_mtime_ns))
    from halign.models import load
    from halign.sampling import TransformersSampler

    if not isinstance(model, str | Path):
        return Subject(name or str(getattr(model, "path", "model")), TransformersSampler(model), model)
    path = Path(model)
    called = path.resolve().name if path.is_dir() else str(model)
    return subject(TransformersSampler(load(model)), name or called, path)


def _version(folder: Path) -> str:
    """Sizes and times of the weights: a model that was trained on since is another one."""
    weights = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    return " ".join(f"{w.stat().st_size}@{w.stat().st_mtime_ns}" for w in weights[:8])
