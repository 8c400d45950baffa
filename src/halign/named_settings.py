"""Settings of something that has a name (a loop, a builder), checked against its pydantic model."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from halign.errors import HalignError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)


def checked(name: str, model: type[Model], given: Mapping[str, Any]) -> Model:
    """The settings, complete.

    Raises:
        HalignError: for an unknown key (it suggests the nearest one) or a bad value.
    """
    known = model.model_fields
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known)}"
            raise HalignError(f"{name} has no setting {key!r}; {hint}")
    try:
        return model(**given)
    except ValidationError as error:
        raise HalignError("; ".join(_line(name, e) for e in error.errors())) from None


def _line(name: str, error: ErrorDetails) -> str:
    said = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # of several settings, of which the message names those that matter
        return f"{name}: {said}"
    return f"{name}.{'.'.join(map(str, error['loc']))}: {said} (got {error['input']!r})"
