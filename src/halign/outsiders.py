"""What users bring along: anything that ``package.module:name`` names."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from halign.errors import HalignError


def imported(name: str, what: str) -> Any:
    """What ``package.module:name`` names; the folder of the call is looked in, too.

    Args:
        what: what it is to be, for the error.

    Raises:
        HalignError: if it cannot be imported.

    >>> imported("math:sqrt", "function")(9)
    3.0
    """
    module, _, attribute = name.partition(":")
    if (
        os.getcwd() not in sys.path
    ):  # the `halign` script, unlike `python -m`, does not look where it was called
        sys.path.append(os.getcwd())
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise HalignError(f"{what} {name!r} cannot be imported: {error}") from error
