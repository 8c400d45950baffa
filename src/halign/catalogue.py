r"""Every method as its code describes it: for ``halign methods`` and ``docs/methods``.

>>> method = describe("dpo")
>>> method.item, method.settings[0].name, method.settings[0].default
('pairs', 'beta', '0.1')
>>> method.formula.partition("=")[0].strip().splitlines()[0][:23]
'-(1-\\epsilon) \\log\\sigm'
"""

from __future__ import annotations

import re
import textwrap
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halign.objectives.registry import Objective, find, names

ITEMS = {
    "tokens": "a response to imitate, token by token",
    "pairs": "a chosen and a rejected response to one prompt",
    "lists": "K ranked or scored responses to one prompt",
    "singles": "a response that is good or bad on its own",
}
"""What one item of each kind is."""

MATH = ".. math::"
SECTIONS = ("Args", "Returns", "Raises")


@dataclass(frozen=True)
class Setting:
    """One setting of a method, as words."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Method:
    """One method, as words.

    Attributes:
        item: "tokens", "pairs", "lists" or "singles".
        formula: LaTeX, without the markup around it.
        source: where the formula is from.
        text: the docstring's paragraphs, less formula, source, sections and doctest.
        needs: what it wants of the data or of the run beside its items.
    """

    name: str
    item: str
    summary: str
    formula: str
    source: str
    text: str
    settings: tuple[Setting, ...]
    needs: tuple[str, ...]
    documentation: str

    @property
    def command(self) -> str:
        """A command that trains with it."""
        return f"halign train {self.name} --model MODEL --data FILE --output runs/{self.name}"


def methods() -> list[Method]:
    """All built-in methods, sorted by item, then by name."""
    order = list(ITEMS)
    return sorted(map(describe, names()), key=lambda m: (order.index(m.item), m.name))


def describe(name: str) -> Method:
    """One method.

    Raises:
        HalignError: if there is none of that name.
    """
    objective = find(name)
    paragraphs, sections = _sections(objective.documentation)
    formula = next((p for p in paragraphs if p.startswith(MATH)), "")
    source = next((p for p in paragraphs if p.startswith("Source:")), "")
    rest = [p for p in paragraphs[1:] if p not in (formula, source)]
    meanings = _meanings(sections.get("Args", ""))
    return Method(
        name=objective.name,
        item=objective.kind,
        summary=paragraphs[0] if paragraphs else "",
        formula=_latex(formula),
        source=_joined(source.removeprefix("Source:")),
        text="\n\n".join(rest),
        settings=tuple(
            Setting(n, type_name(hint), shown(default), meanings.get(n, ""))
            for n, (hint, default) in objective.settings.items()
        ),
        needs=tuple(_needs(objective)),
        documentation=objective.documentation,
    )


def _sections(documentation: str) -> tuple[list[str], dict[str, str]]:
    """(paragraphs before the first section, section -> its text); doctests are left out."""
    text = re.split(r"^>>> ", documentation, maxsplit=1, flags=re.MULTILINE)[0]
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", text, flags=re.MULTILINE)
    paragraphs = [p.strip("\n") for p in re.split(r"\n\s*\n", parts[0]) if p.strip()]
    return paragraphs, dict(zip(parts[1::2], parts[2::2], strict=True))


def _latex(paragraph: str) -> str:
    """What stands in a ``.. math::`` paragraph."""
    return textwrap.dedent(" " * len(MATH) + paragraph.removeprefix(MATH)).strip()


def _meanings(arguments: str) -> dict[str, str]:
    """Argument -> what the docstring says of it; ``a, b: text`` says it of both."""
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", textwrap.dedent(arguments).strip()):
        heads, colon, text = entry.partition(":")
        if colon:
            found |= {head.strip(): _joined(text) for head in heads.split(",")}
    return found


def _joined(text: str) -> str:
    return " ".join(text.split())


def _needs(objective: Objective) -> list[str]:
    fields = objective.needs({name: default for name, (_, default) in objective.settings.items()})
    found = ["a reference model"] if objective.needs_reference else []
    found += ["a value head: it makes a reward model"] if objective.reads_values else []
    found += [f"{field.replace('_', ' ')} in the data" for field in fields]
    if objective.mismatched:
        found.append("two conversations or more (mismatched completions)")
    return found


def type_name(annotation: Any) -> str:
    """An annotation as users write it."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return type_name(typing.get_args(annotation)[0])
    if origin is typing.Literal:
        return " | ".join(map(str, typing.get_args(annotation)))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_name(a) for a in typing.get_args(annotation) if a is not type(None))
    if origin is tuple:
        return "list"
    return getattr(annotation, "__name__", str(annotation)).replace("dict", "mapping")


def shown(value: Any) -> str:
    """A default as users write it."""
    if value is None:
        return "-"
    if isinstance(value, str) and not value.isprintable():
        return repr(value)
    return str(list(value) if isinstance(value, tuple) else value)


# -- docs/methods


def page(method: Method) -> str:
    """A method's page, Markdown."""
    lines = [f"# {method.name}", "", method.summary, "", f"One item is {ITEMS[method.item]}."]
    if method.needs:
        lines.append(f"Needs {', '.join(method.needs)}.")
    lines += ["", _formula(method.formula), ""] if method.formula else [""]
    lines += [f"Source: {_markdown(method.source)}", ""] if method.source else []
    for paragraph in method.text.split("\n\n") if method.text else ():
        lines += [_formula(_latex(paragraph)) if paragraph.startswith(MATH) else _markdown(paragraph), ""]
    if method.settings:
        lines += ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{s.name}` | {s.type.replace('|', 'or')} | {s.default} | {_markdown(s.meaning)} |"
            for s in method.settings
        ]
        lines.append("")
    lines += ["```", method.command, "```"]
    return "\n".join(lines) + "\n"


def index(found: list[Method]) -> str:
    """The list of all methods, Markdown."""
    lines = [
        "# Methods",
        "",
        "Written by `halign methods --write docs/methods` from the code; `halign methods NAME` prints one.",
        "Objectives combine: `dpo+0.2*sft` adds the losses over one forward pass.",
    ]
    for item, what in ITEMS.items():
        lines += ["", f"## {item.capitalize()}: {what}", ""]
        lines += ["| method | what it is | settings and defaults | source |", "| --- | --- | --- | --- |"]
        for m in found:
            if m.item == item:
                settings = ", ".join(f"`{s.name}={s.default}`" for s in m.settings)
                lines.append(
                    f"| [{m.name}]({m.name}.md) | {_markdown(m.summary)} | {settings} | {_linked(m.source)} |"
                )
    return "\n".join(lines) + "\n"


def _formula(latex: str) -> str:
    return f"```math\n{latex}\n```"


def _markdown(text: str) -> str:
    """Docstring markup as Markdown's."""
    text = text.replace("|", "\\|") if "\n" not in text else text
    return re.sub(r":math:`([^`]*)`", r"$\1$", text).replace("``", "`")


def short_source(source: str) -> str:
    """The arXiv number of a source, or its first words."""
    number = re.search(r"arXiv (\d{4}\.\d{4,5})", source)
    return number[1] if number else source.partition(",")[0]


def _linked(source: str) -> str:
    short = short_source(source)
    return f"[{short}](https://arxiv.org/abs/{short})" if short[:4].isdigit() else _markdown(short)


def write(folder: Path) -> list[Path]:
    """Write every page and the index; pages of methods that are gone are deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    found = methods()
    pages = {folder / f"{m.name}.md": page(m) for m in found} | {folder / "README.md": index(found)}
    for old in set(folder.glob("*.md")) - pages.keys():
        old.unlink()
    for file, text in pages.items():
        file.write_text(text, encoding="utf-8")
    return sorted(pages)
