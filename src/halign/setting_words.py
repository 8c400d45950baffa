"""Settings as people write them: ``key=value`` words, YAML files. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from halign.errors import HalignError


def parse_overrides(pairs: Iterable[str]) -> dict[str, Any]:
    """``key=value`` words -> a nested dict; values are read as YAML, dots nest.

    >>> parse_overrides(["beta=0.2", "dpo.label_smoothing=.1", "roles=[user, assistant]", "lr=1e-4"])
    {'beta': 0.2, 'dpo': {'label_smoothing': 0.1}, 'roles': ['user', 'assistant'], 'lr': 0.0001}
    """
    found: dict[str, Any] = {}
    for word in pairs:
        key, equals, value = word.partition("=")
        if not equals:
            raise HalignError(f"{word!r}: settings are written key=value")
        place = found
        outsider, colon, rest = key.rpartition(":")  # package.module:function.beta has dots of its own
        *outer, last = rest.split(".")
        if outer:
            outer[0] = outsider + colon + outer[0]
        else:
            last = outsider + colon + last
        for part in outer:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise HalignError(f"{word!r}: {part} has a value already")
        place[last] = _scalar(value)
    return found


def _scalar(text: str) -> Any:
    try:
        return float(text) if "e" in text.lower() else _read_value(text)  # YAML 1.1 reads 1e-4 as a string
    except (ValueError, yaml.YAMLError):
        return _read_value(text)


def _read_value(text: str) -> Any:
    """A value as YAML reads it; but words keep the spaces at their ends, and a colon among them makes no mapping of them.

    >>> [_read_value(text) for text in ("3", "{a: 1}", "Fine: ", '"A: "', "null")]
    [3, {'a': 1}, 'Fine: ', 'A: ', None]
    """
    found = yaml.safe_load(text)
    words = isinstance(found, str) and found == text.strip()
    return text if words or (isinstance(found, dict) and not text.lstrip().startswith("{")) else found


_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
"""Numbers that YAML 1.1 reads as strings, such as 1e-4."""


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A settings file.

    Raises:
        HalignError: if it is missing, not UTF-8, no YAML, or no mapping.
    """
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise HalignError(f"{path}: {error.strerror}; a YAML file of settings was expected") from error
    except UnicodeDecodeError as error:
        raise HalignError(f"{path}: not UTF-8; a YAML file of settings was expected") from error
    except yaml.YAMLError as error:
        raise HalignError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise HalignError(f"{path}: a mapping of settings was expected")
    return {k: _reread(v) for k, v in found.items()}


def _reread(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _reread(v) for k, v in value.items()}
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
