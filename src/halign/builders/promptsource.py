"""Prompts by Jinja templates over the columns of any data set, as in PromptSource (Bach et al. 2022, arXiv 2202.01279).

A template is "INPUT ||| TARGET" in Jinja over the row's columns; ``answer_choices``, itself Jinja, gives the possible answers
separated by "|||", and is a list in the template:

    {{premise}} Is it true that "{{hypothesis}}"? Yes, no, or maybe? ||| {{answer_choices[label]}}

Templates (``prompt_templates``) come from a setting or from a YAML file in PromptSource's own form; each makes an example of
every row. With ``wrong`` each other answer choice becomes a rejected reply. "|||" within a column's text separates nothing. A
column that a row does not have is an error, where PromptSource writes nothing ("{% if note is defined %}" asks for it); texts
are not cut at 2,048 characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Literal

from pydantic import Field

from halign.builders.contract import Builder, BuilderSettings, Built, Made
from halign.builders.prompt_templates import Template, apply, check, read_templates
from halign.builders.tools import Tools
from halign.curation.source import Row
from halign.dialogue import Dialogue, Message
from halign.errors import DataError, HalignError
from halign.examples import Demonstration, Example, Preference
from halign.readers.cells import typed
from halign.readers.files import rows_of
from halign.readers.sources import BadLine, Cells

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
    split: str | None = Field(None, description="which split, where the source has several")
    encoding: str | None = Field(None, description="of a text file that is not UTF-8, e.g. cp1252")
    wrong: Literal["none", "one", "all"] = Field(
        "none",
        description="pairs with another answer choice as the rejected reply: one that is drawn, or each; none: no pairs",
    )


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
        check(one)
    return found


def read(file: str, settings: Settings) -> Iterator[Row]:
    """The rows of a builder's file: as ``rows_as_they_are``."""
    return rows_as_they_are(file, settings.split, settings.encoding)


def rows_as_they_are(file: str, split: str | None = None, encoding: str | None = None) -> Iterator[Row]:
    """The rows as they are, whatever their columns.

    Raises:
        DataError: a broken line, or a row without columns.
    """
    source = rows_of(file, split, encoding)
    for number, row in source.rows:
        if isinstance(row, BadLine) or not isinstance(row, Mapping):
            problem = row.problem if isinstance(row, BadLine) else "a row has to be an object with columns"
            raise DataError(problem, file=source.file, line=number)
        found = (
            {**dict.fromkeys(row, ""), **typed(row)} if type(row) is Cells else row
        )  # an empty cell is a column too
        name = found.get("id", found.get("conversation"))
        yield Row(number, found, None, None, str(number if name is None else name))


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
