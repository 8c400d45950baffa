"""Whether a path can be a model's, before anything is loaded from it."""

from __future__ import annotations

from pathlib import Path

from halign.errors import HalignError


def see_model(path: Path) -> None:
    """See that a path which is there holds a model; a hub name is no path.

    Raises:
        HalignError: it is a file, a run that has not finished, or a folder of something else.
    """
    if path.is_file():
        raise HalignError(f"{path} is a file, and a model is a folder with config.json and safetensors")
    if not path.is_dir() or any((path / name).exists() for name in ("config.json", "adapter_config.json")):
        return
    if (path / "config.yaml").exists():
        raise HalignError(f"{path} is a run that has not finished: the command that began it goes on with it")
    raise HalignError(f"{path} is no model: it holds neither config.json nor adapter_config.json")
