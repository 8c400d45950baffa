"""Whether a path can be a model's, before anything is loaded from it."""

from __future__ import annotations

from pathlib import Path

from halign.errors import HalignError


def see_model(path: Path) -> None:
    """See that a path which is there holds a model; a hub name is no path.

    Raises:
        HalignError: it is a file, a run that has not finished, a folder of something else, or not there and no hub name either
            (these are ``name`` and ``owner/name``).
    """
    if not path.exists() and (path.is_absolute() or len(path.parts) > 2 or str(path).startswith((".", "~"))):
        raise HalignError(f"there is no folder {path}")
    if path.is_file():
        raise HalignError(f"{path} is a file, and a model is a folder with config.json and safetensors")
    if not path.is_dir() or any((path / name).exists() for name in ("config.json", "adapter_config.json")):
        return
    if (path / "config.yaml").exists():
        raise HalignError(f"{path} is a run that has not finished: the command that began it goes on with it")
    raise HalignError(f"{path} is no model: it holds neither config.json nor adapter_config.json")


def not_loaded(what: str, name: str, error: Exception) -> HalignError:
    """What to say of a model, a reward model ... that transformers could not load."""
    said = str(error).splitlines()[0]
    if Path(name).exists():
        return HalignError(f"no {what} could be loaded from {name!r}: {said}")
    return HalignError(
        f"there is no folder {name!r} here, and as a name on the hub it could not be loaded: {said}"
    )
