"""What a chat template writes around the contents of messages, where it provably writes the contents themselves as they are.

Most templates choose by the roles and write the contents between fixed words. That is seen by running the template once on
stand-ins that can be joined with text, trimmed and written out, and that raise an error at whatever else is done with them: no
comparison, no length, no search. Where none was raised, no content can change anything else in the text, so that all dialogues of
these roles are rendered by putting their contents in place. Templates that look into a content (Qwen 3's for ``</think>``) are
run every time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Environment, nodes
from jinja2.filters import do_trim
from jinja2.tests import test_string

FILTERS = frozenset(("trim", "length", "tojson"))
TESTS = frozenset(("string", "defined", "undefined", "none", "divisibleby", "odd", "even"))
GLOBALS = frozenset(("raise_exception", "namespace", "range"))
"""What a template may use without a doubt about what it does to a stand-in, and always with the same result."""

CAPTURING: tuple[type[nodes.Node], ...] = (
    *(nodes.AssignBlock, nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.Block),
    *(nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends),
)
"""Statements by which a template may read what it has written, or bring in another."""

WRITTEN = re.compile("\ue000([0-9]+)(t?)\ue001")
"""A stand-in in the text of a template: number of the message, and whether it was trimmed."""


class Looked(Exception):
    """The template wants to know something of a content."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A rendering with gaps.

    Attributes:
        pieces: the text in order, '' where a content goes.
        gaps: index in ``pieces``, number of the message, and whether its content is trimmed.
    """

    pieces: tuple[str, ...]
    gaps: tuple[tuple[int, int, bool], ...]

    def fill(self, contents: Sequence[str]) -> str:
        """The rendering of messages with these contents."""
        pieces = list(self.pieces)
        for at, number, trimmed in self.gaps:
            pieces[at] = contents[number].strip() if trimmed else contents[number]
        return "".join(pieces)


def shape(
    environment: Environment, template: str, roles: Sequence[str], variables: Mapping[str, Any]
) -> Shape | None:
    """The shape of dialogues of these roles; None where contents or anything else than roles and variables may matter.

    Args:
        environment: in which the template is compiled.
        variables: what the template gets beside ``messages``.
    """
    traced = _traced(environment, template)
    if traced is None:
        return None
    stand_ins = [_Content((f"\ue000{i}\ue001",)) for i in range(len(roles))]
    messages = [{"role": role, "content": c} for role, c in zip(roles, stand_ins, strict=True)]
    try:
        text = traced.render({**variables, "messages": messages})
    except Exception:  # a template can fail in any way; run on the messages themselves it says why
        return None
    found = WRITTEN.split(text)  # text, number, trimmed, text, number, trimmed, ... text
    if "\ue000" in "".join(found[::3]):
        return None
    pieces = [piece for text in found[::3] for piece in (text, "")][:-1]
    numbers, trimmed = map(int, found[1::3]), map(bool, found[2::3])
    return Shape(tuple(pieces), tuple(zip(range(1, len(pieces), 2), numbers, trimmed, strict=True)))


@lru_cache
def _traced(environment: Environment, template: str) -> Any | None:
    """The template to run on stand-ins; None if it uses what would not show how it treats them."""
    tree = environment.parse(template)
    if (
        not {f.name for f in tree.find_all(nodes.Filter)} <= FILTERS
        or not {t.name for t in tree.find_all(nodes.Test)} <= TESTS
        or not {n.name for n in tree.find_all(nodes.Name)} & set(environment.globals) <= GLOBALS
        or any(True for _ in tree.find_all(CAPTURING))
        or "\ue000" in template
    ):
        return None
    sandbox: Any = environment.overlay(finalize=_written)
    sandbox.filters = {**environment.filters, "trim": _trim}
    sandbox.tests = {**environment.tests, "string": lambda v: isinstance(v, _Content) or test_string(v)}
    return sandbox.from_string(template)


def _looked(*_: Any) -> NoReturn:
    raise Looked


class _Content:
    """Stands in for a content: text and marks of contents, to be joined with more."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        self._parts = parts

    def __add__(self, other: Any) -> _Content:
        return _Content((*self._parts, *_parts(other)))

    def __radd__(self, other: Any) -> _Content:
        return _Content((*_parts(other), *self._parts))

    def strip(self) -> _Content:
        """Trimmed, if it is a content and nothing else."""
        match = WRITTEN.fullmatch(self._parts[0]) if len(self._parts) == 1 else None
        if match is None:
            raise Looked
        return _Content((f"\ue000{match[1]}t\ue001",))

    def __getattr__(self, name: str) -> Any:
        raise Looked

    __eq__: Callable[..., Any] = _looked
    __ne__: Callable[..., Any] = _looked
    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = _looked
    __str__: Callable[..., Any] = _looked
    __repr__: Callable[..., Any] = _looked
    __format__: Callable[..., Any] = _looked
    __hash__: Callable[..., Any] = _looked
    __int__ = __float__ = __index__ = __mul__ = __rmul__ = __mod__ = __rmod__ = __call__ = _looked


def _parts(value: Any) -> tuple[str, ...]:
    if isinstance(value, _Content):
        return value._parts
    if type(value) is not str:
        raise Looked
    return (value,)


def _written(value: Any) -> Any:
    """What a template writes for a value: of a stand-in its text and marks."""
    return "".join(value._parts) if isinstance(value, _Content) else value


def _trim(value: Any, chars: str | None = None) -> Any:
    if isinstance(value, _Content):
        return value.strip() if chars is None else _looked()
    return do_trim(value, chars)
