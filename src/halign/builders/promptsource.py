"""Prompts by Jinja templates over the columns of any data set, as in PromptSource (Bach et al. 2022, arXiv 2202.01279).

A template is "INPUT ||| TARGET" in Jinja over the row's columns; ``answer_choices``, itself Jinja, gives the possible answers
separated by "|||", and is a list in the template:

    {{premise}} Is it true that "{{hypothesis}}"? Yes, no, or maybe? ||| {{answer_choices[label]}}

Templates come from a setting or from a YAML file in PromptSource's own form, of which each makes an example of every row. With
``wrong`` each other answer choice becomes a rejected reply. "|||" within a column's text separates nothing. A column that a row
does not have is an error, where PromptSource writes nothing ("{% if note is defined %}" asks for it); texts are not cut at 2,048
characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import yaml
from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field

from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.tools import Tools
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.errors import DataError, HalignError
from halign.examples import Demonstration, Example, Preference
from halign.readers.cells import typed
from halign.readers.files import rows_of
from halign.readers.sources import BadLine, Cells

SEPARATOR = "|||"
_ESCAPED = "\ue000pipes\ue001"  # private characters, which no text has
EMPTY, ONLY = (
    "prompts without an input or a target",
    "prompts whose target is no answer choice, or the only one",
)


class Settings(BuilderSettings):
    """Of ``promptsource``."""

    template: str | None = Field(None, description='Jinja over the columns: "INPUT ||| TARGET"')
    answer_choices: str | None = Field(None, description='with template: Jinja, answers separated by "|||"')
    templates: Path | None = Field(None, description="YAML file of templates in PromptSource's form")
    names: tuple[str, ...] = Field((), description="of the file: which templates; none: all")
    wrong: Literal["none", "one", "all"] = Field(
        "none",
        description="pairs with another answer choice as the rejected reply: one that is drawn, or each; none: no pairs",
    )


@dataclass(frozen=True, slots=True)
class Template:
    """One template. ``original_task``: it asks for what the data set was made for; None where nobody says."""

    name: str
    jinja: str
    answer_choices: str | None = None
    original_task: bool | None = None


class _Loader(yaml.SafeLoader):
    """YAML whose tagged objects are plain mappings."""


def _mapping(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[Any, Any]:
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_Loader.add_multi_constructor("!Template", _mapping)


def read_templates(file: Path) -> list[Template]:
    """The templates of a file in PromptSource's form: {templates: {id: {name, jinja, answer_choices, metadata}}}.

    Raises:
        HalignError: the file cannot be read, or is of another form.
    """
    try:
        said = yaml.load(file.read_text(encoding="utf-8"), _Loader)["templates"].values()
        found = [
            Template(
                str(t["name"]),
                t["jinja"],
                t.get("answer_choices"),
                (t.get("metadata") or {}).get("original_task"),
            )
            for t in said
        ]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise HalignError(
            f"templates {file}: cannot be read ({error!r}); it has to be YAML, templates: {{id: {{name: ..., jinja: ...}}}}"
        ) from None
    return found


def prepare(settings: Settings) -> list[Template]:
    """The templates to apply.

    Raises:
        HalignError: none is given, or both ways at once; a name that is not there; one that is no Jinja or has no separator.
    """
    if (settings.template is None) == (settings.templates is None):
        raise HalignError("promptsource: give template='INPUT ||| TARGET', or templates=FILE; one of the two")
    if settings.template is not None:
        if settings.names:
            raise HalignError("promptsource: names has no effect without templates=FILE")
        found = [Template("template", settings.template, settings.answer_choices)]
    else:
        assert settings.templates is not None
        if settings.answer_choices is not None:
            raise HalignError(
                "promptsource: answer_choices has no effect with templates=FILE, which has its own"
            )
        found = read_templates(settings.templates)
        missing = set(settings.names) - {t.name for t in found}
        if missing:
            raise HalignError(
                f"promptsource: {settings.templates} has no template {sorted(missing)[0]!r}; it has: "
                + ", ".join(t.name for t in found)
            )
        found = [t for t in found if not settings.names or t.name in settings.names]
    for one in found:
        _check(one)
    return found


def _check(template: Template) -> None:
    if SEPARATOR not in template.jinja:
        raise HalignError(f"template {template.name!r} has no {SEPARATOR} between input and target")
    for text in (template.jinja, template.answer_choices or ""):
        try:
            _environment(Random(0)).from_string(text)
        except TemplateError as error:
            raise HalignError(f"template {template.name!r} is no Jinja: {error}") from None


def read(file: str, settings: Settings) -> Iterator[Row]:
    """The rows as they are, whatever their columns.

    Raises:
        DataError: a broken line, or a row without columns.
    """
    source = rows_of(file)
    for number, row in source.rows:
        if isinstance(row, BadLine) or not isinstance(row, Mapping):
            problem = row.problem if isinstance(row, BadLine) else "a row has to be an object with columns"
            raise DataError(problem, file=source.file, line=number)
        found = (
            {**dict.fromkeys(row, ""), **typed(row)} if type(row) is Cells else row
        )  # an empty cell is a column too
        name = found.get("id", found.get("conversation"))
        yield Row(number, found, None, None, str(number if name is None else name))


def apply(template: Template, row: Mapping[str, Any], random: Random) -> tuple[list[str], list[str]]:
    """(the parts between separators, which are input and target; the answer choices) of one row.

    >>> apply(Template("a", "{{q}}? ||| {{answer_choices[y]}}", "No ||| Yes"), {"q": "A ||| B", "y": 1}, Random(0))
    (['A ||| B?', 'Yes'], ['No', 'Yes'])

    Raises:
        HalignError: the template asks for a column that is not there, or fails.
    """
    environment = _environment(random)
    columns = _escaped(dict(row))
    try:
        choices = None
        if template.answer_choices is not None:
            choices = _split(environment.from_string(template.answer_choices).render(columns))
            columns["answer_choices"] = _escaped(choices)
        return _split(environment.from_string(template.jinja).render(columns)), choices or []
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        known = f"; the row has: {', '.join(map(str, row))}" if isinstance(error, UndefinedError) else ""
        raise HalignError(f"template {template.name!r}: {error}{known}") from None


def _split(text: str) -> list[str]:
    return [part.strip().replace(_ESCAPED, SEPARATOR) for part in text.split(SEPARATOR)]


def _escaped(value: Any) -> Any:
    """The same with separators in its texts hidden, however deep."""
    if isinstance(value, str):
        return value.replace(SEPARATOR, _ESCAPED)
    if isinstance(value, Mapping):
        return {k: _escaped(v) for k, v in value.items()}
    return [_escaped(v) for v in value] if isinstance(value, list | tuple) else value


def _environment(random: Random) -> ImmutableSandboxedEnvironment:
    """Jinja with the filters of PromptSource; ``choice`` draws from ``random``."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    environment.globals["zip"] = zip
    environment.filters["choice"] = random.choice
    environment.filters["highlight"] = str
    environment.filters["most_frequent"] = _most_frequent
    return environment


def _most_frequent(items: Sequence[Any]) -> list[Any]:
    most = max(map(items.count, items), default=0)
    return [item for item in dict.fromkeys(items) if items.count(item) == most]


def build(rows: Sequence[Row], settings: Settings, tools: Tools) -> Made:
    """Every row by every template."""
    made = Made()
    for row in rows:
        for template in tools.prepared:
            random = tools.draws(row.number, template.name)
            try:
                parts, choices = apply(template, row.row, random)
            except HalignError as error:
                raise HalignError(f"row {row.number}: {error}") from None
            if len(parts) != 2 or not all(parts):
                made.dropped[EMPTY] += 1
                continue
            examples = list(_examples(row, parts, choices, settings, random))
            if not examples:
                made.dropped[ONLY] += 1
            made.tallies[f"prompts by {template.name!r}"] += bool(examples)
            columns = {"template": template.name, **({"answer_choices": choices} if choices else {})}
            made.built += [Built(example, (row,), columns=columns) for example in examples]
    return made


def _examples(
    row: Row, parts: Sequence[str], choices: Sequence[str], settings: Settings, random: Random
) -> Iterable[Example]:
    prompt = Dialogue((Message("user", parts[0]),))
    answer = Message("assistant", parts[1])
    if settings.wrong == "none":
        return [Demonstration(prompt + answer, row.conversation)]
    others = [c for c in dict.fromkeys(choices) if c != parts[1]]
    if parts[1] not in choices or not others:
        return []
    if settings.wrong == "one":
        others = [random.choice(others)]
    pair = partial(Preference, prompt, answer, conversation=row.conversation)
    return [pair(rejected=Message("assistant", other)) for other in others]


def notes(settings: Settings, prepared: Sequence[Template], tallies: Mapping[str, int]) -> list[str]:
    """The templates there were, and those for the original task."""
    original = sum(t.original_task is True for t in prepared)
    return [f"{len(prepared)} templates, {original} of them said to ask for the data set's original task"]


BUILDER = Builder(
    "promptsource",
    "prompts by Jinja templates over the columns of any data set, with answer choices (PromptSource)",
    Settings,
    build,
    prepare=prepare,
    read=read,
    notes=notes,
)
