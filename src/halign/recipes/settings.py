"""Settings of a recipe: its YAML file, a size, and what the user overrides."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from halign.config import read_yaml
from halign.errors import HalignError

FREE = frozenset({"base", "sampling", "training"})
"""Keys whose inner keys are checked by whom they are for, not here."""
LISTED = frozenset({"arms", "methods"})
"""Keys under which entries of one's own may be added: mappings, checked by whom they are for."""


def load(
    recipe: str,
    size: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    config: Path | None = None,
) -> dict[str, Any]:
    """The resolved settings: the recipe's YAML, then its size, then a settings file, then the overrides.

    Raises:
        HalignError: for an unknown recipe, size or key; it suggests the nearest one.
    """
    source = files("halign.recipes").joinpath(f"{recipe}.yaml")
    if not source.is_file():
        known = sorted(f.name[:-5] for f in files("halign.recipes").iterdir() if f.name.endswith(".yaml"))
        raise HalignError(f"no recipe {recipe!r}; there is {', '.join(known)}")
    settings: dict[str, Any] = yaml.safe_load(source.read_text())
    sizes = settings.pop("sizes", {})
    if size is not None:
        if size not in sizes:
            raise HalignError(f"no size {size!r}; there is {', '.join(sizes)}")
        settings = merged(settings, sizes[size], f"{recipe}.yaml, size {size}")
    if config is not None:
        settings = merged(settings, read_yaml(config), str(config))
    return merged(settings, overrides or {}, "settings")


def merged(base: Mapping[str, Any], more: Mapping[str, Any], where: str, path: str = "") -> dict[str, Any]:
    """``base`` with the values of ``more``; mappings are merged, everything else is replaced.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 5}}, "here")
    {'a': {'b': 5, 'c': 2}}

    Raises:
        HalignError: for a key that ``base`` does not have.
    """
    out = copy.deepcopy(dict(base))
    top, depth = path.split(".")[0], path.count(".")
    free = top in FREE or (top in LISTED and depth >= 1)
    for key, value in more.items():
        full = f"{path}.{key}" if path else str(key)
        if key not in out and not free and not (path in LISTED and isinstance(value, Mapping)):
            near = difflib.get_close_matches(str(key), [str(k) for k in out], 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(map(str, out))}"
            raise HalignError(f"{where}: unknown key {full!r}; {hint}")
        known = out.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            out[key] = merged(known, value, where, full)
        elif isinstance(known, Mapping) and known and not isinstance(value, Mapping):
            raise HalignError(f"{where}: {full}: a mapping was expected, got {value!r}")
        else:
            out[key] = copy.deepcopy(value)
    return out
