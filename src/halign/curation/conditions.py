"""Conditions on a row in words, such as ``words >= 5 and not matches('as an AI')``: no code runs but what stands here.

What there is to ask about:

- ``words``, ``characters``: of the response (of a conversation, all agent turns together; of judged responses, the best);
- ``prompt_words``, ``turns``, ``guardrails``: words of the prompt, number of messages, of rules in force;
- ``repeats``: share of the response's three-word runs that stood in it before, 0 to 1;
- ``letters``: share of its characters, white space aside, that are letters of any script;
- ``label``: "good" or "bad"; ``score``, ``grade``: numbers, where the row has them;
- ``matches(RE)``, ``prompt_matches(RE)``: whether a regular expression is found in the response, in the prompt;
- ``column(NAME)``: a column, or an entry of ``meta``.

What a row does not have is None, and no comparison with it holds but ``== None`` and ``!=``.

>>> from halign.curation.source import Row
>>> from halign.readers import read
>>> row = Row(1, {}, read([{"prompt": "Hi", "completion": "Hello to you, too"}])[0], None, "c")
>>> Condition("words > 3 and matches('(?i)hello')")(row), Condition("score > 3")(row)
(True, False)
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from halign.curation.minhash import normal
from halign.curation.source import Row
from halign.errors import HalignError
from halign.examples import Rating
from halign.readers.fields import hint

_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def column(row: Row, name: str) -> Any:
    """A column of the row, or an entry of its meta; None if there is none."""
    return row.row.get(name, row.dialogue.meta.get(name))


def _repeats(row: Row) -> float:
    words = normal(row.text("response"))
    runs = [tuple(words[i : i + 3]) for i in range(len(words) - 2)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _letters(row: Row) -> float:
    said = [c for c in row.text("response") if not c.isspace()]
    return sum(c.isalpha() for c in said) / len(said) if said else 0.0


def _label(row: Row) -> str | None:
    return ("good" if row.example.desirable else "bad") if isinstance(row.example, Rating) else None


_NAMES: dict[str, Callable[[Row], Any]] = {
    "words": lambda row: len(row.text("response").split()),
    "characters": lambda row: len(row.text("response")),
    "prompt_words": lambda row: len(row.text("prompt").split()),
    "turns": lambda row: len(row.dialogue),
    "guardrails": lambda row: len(row.dialogue.guardrails),
    "repeats": _repeats,
    "letters": _letters,
    "label": _label,
    "score": lambda row: row.example.score if isinstance(row.example, Rating) else column(row, "score"),
    "grade": lambda row: column(row, "grade"),
}
_FUNCTIONS: dict[str, Callable[[Row, str], Any]] = {
    "matches": lambda row, pattern: re.search(pattern, row.text("response")) is not None,
    "prompt_matches": lambda row, pattern: re.search(pattern, row.text("prompt")) is not None,
    "column": column,
}


class Condition:
    """One condition; called with a row it says whether it holds.

    Raises:
        HalignError: if it is not of the language above, or a regular expression in it is none.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except SyntaxError as error:
            raise HalignError(f"condition {text!r}: {error.msg} at character {error.offset}") from None
        for node in ast.walk(self._tree):
            self._check(node)

    def __call__(self, row: Row) -> bool:
        """Whether it holds.

        Raises:
            HalignError: if values cannot be compared, such as a word with a number.
        """
        try:
            return bool(_value(self._tree, row))
        except (TypeError, ZeroDivisionError) as error:
            raise HalignError(f"condition {self.text!r}, row {row.number}: {error}") from None

    def _check(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            if node.id not in _NAMES and node.id not in _FUNCTIONS:
                raise HalignError(
                    f"condition {self.text!r}: no {node.id!r}{hint(node.id, [*_NAMES, *_FUNCTIONS])}; there are"
                    f" {', '.join(_NAMES)} and {', '.join(f'{n}(...)' for n in _FUNCTIONS)}"
                )
        elif isinstance(node, ast.Call):
            self._check_call(node)
        elif not isinstance(node, _ALLOWED):
            raise HalignError(
                f"condition {self.text!r}: {type(node).__name__} is not allowed; and, or, not, comparisons, + - * / and"
                " the functions are"
            )

    def _check_call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else "?"
        word = node.args[0].value if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) else None
        if name not in _FUNCTIONS or node.keywords or not isinstance(word, str):
            raise HalignError(
                f"condition {self.text!r}: a function takes one text in quotes, as in matches('sorry')"
            )
        try:
            re.compile(word if name != "column" else "")
        except re.error as error:
            raise HalignError(
                f"condition {self.text!r}: {word!r} is no regular expression: {error}"
            ) from None


_ALLOWED = (
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.BinOp, ast.Constant),
    *(ast.Tuple, ast.List, ast.Load, ast.cmpop, ast.Add, ast.Sub, ast.Mult, ast.Div),
)


def _value(node: ast.AST, row: Row) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _NAMES[name](row)
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=word)]):
            return _FUNCTIONS[name](row, str(word))
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_value(v, row) for v in values)
        case ast.BoolOp(values=values):
            return any(_value(v, row) for v in values)
        case ast.UnaryOp(op=ast.Not(), operand=inner):
            return not _value(inner, row)
        case ast.UnaryOp(operand=inner):
            return -_value(inner, row)
        case ast.BinOp(left=left, op=op, right=right):
            return _ARITHMETIC[type(op)](_value(left, row), _value(right, row))
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return [_value(p, row) for p in parts]
        case ast.Compare():
            return _compared(node, row)
    raise AssertionError(node)


def _compared(node: ast.Compare, row: Row) -> bool:
    left = _value(node.left, row)
    for op, side in zip(node.ops, node.comparators, strict=True):
        right = _value(side, row)
        orders = not isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn)
        if orders and (left is None or right is None):
            return False
        if not _COMPARE[type(op)](left, right):
            return False
        left = right
    return True
