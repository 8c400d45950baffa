"""Settings of a recipe: its YAML file (over its frame's, if it has one), a size, and what the user overrides."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from halign.errors import HalignError
from halign.setting_words import read_yaml

FRAMES = frozenset({"table"})
"""YAML files that are no recipe, but what recipes have in common (``frame: table``)."""
FREE = frozenset({"base", "sampling", "training", "loops", "reward", "build"})
"""Keys whose inner keys are checked by whom they are for, not here."""
LISTED = frozenset({"arms", "methods", "samples"})
"""Keys under which entries of one's own may be added: mappings, checked by whom they are for; null leaves one out."""


def names() -> list[str]:
    """The recipes there are: a YAML file each."""
    found = {f.name[:-5] for f in files("halign.recipes").iterdir() if f.name.endswith(".yaml")}
    return sorted(found - FRAMES)


def load(
    recipe: str,
    size: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    config: Path | None = None,
) -> dict[str, Any]:
    """The resolved settings: the frame's YAML, the recipe's, then the size of both, a settings file, the overrides.

    Raises:
        HalignError: for an unknown recipe, size or key; it suggests the nearest one.
    """
    settings, sizes = layers(recipe)
    if size is not None:
        if not any(size in known for known in sizes):
            raise HalignError(f"no size {size!r}; there is {', '.join({n: 0 for s in sizes for n in s})}")
        for known in sizes:
            settings = merged(settings, known.get(size) or {}, f"{recipe}.yaml, size {size}")
    if config is not None:
        settings = merged(settings, read_yaml(config), str(config))
    return merged(settings, overrides or {}, "settings")


def layers(recipe: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(a recipe's settings without a size, sizes of its frame and its own).

    Raises:
        HalignError: if there is no such recipe.
    """
    if recipe not in names():
        raise HalignError(f"no recipe {recipe!r}; there is {', '.join(names())}")
    own = _read(recipe)
    frame = own.pop("frame", None)
    sizes = [own.pop("sizes", {})]
    if frame is None:
        return own, sizes
    shared = _read(frame)
    return merged(shared, own, f"{recipe}.yaml"), [shared.pop("sizes"), *sizes]


def frame(name: str) -> dict[str, Any]:
    """The settings of a frame, without a size: for a recipe with settings of its own that ends in one."""
    found = _read(name)
    found.pop("sizes", None)
    return found


def source(recipe: str) -> list[str]:
    """Files of this folder that hold a recipe's settings, each explained by its comments."""
    frame = _read(recipe).get("frame")
    return [*([f"{frame}.yaml"] if frame else []), f"{recipe}.yaml"]


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(files("halign.recipes").joinpath(f"{name}.yaml").read_text())
    return found


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
        elif isinstance(known, Mapping) and known and not (value is None and path in LISTED):
            raise HalignError(f"{where}: {full}: a mapping was expected, got {value!r}")
        else:
            out[key] = copy.deepcopy(value)
    return out
