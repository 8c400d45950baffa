"""Templates in PromptSource's form: one applied to a row, and files of them read and written.

{templates: {id: {name, jinja, answer_choices, metadata: {original_task, ...}}}}, as YAML with PromptSource's tags.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml
from jinja2 import StrictUndefined, TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from halign.errors import HalignError

SEPARATOR = "|||"
_ESCAPED = "\ue000pipes\ue001"  # private characters, which no text has


@dataclass(frozen=True, slots=True)
class Template:
    """One template. ``original_task``: it asks for what the data set was made for; None where nobody says."""

    name: str
    jinja: str
    answer_choices: str | None = None
    original_task: bool | None = None


def check(template: Template) -> None:
    """Looks at a template before any row is there.

    Raises:
        HalignError: it has no separator, or is no Jinja.
    """
    if SEPARATOR not in template.jinja:
        raise HalignError(f"template {template.name!r} has no {SEPARATOR} between input and target")
    for text in (template.jinja, template.answer_choices or ""):
        try:
            _environment(Random(0)).from_string(text)
        except TemplateError as error:
            raise HalignError(f"template {template.name!r} is no Jinja: {error}") from None


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


# -- files ---------------------------------------------------------------------------------------------------------


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


class _Dumper(yaml.SafeDumper):
    """YAML with PromptSource's tags; long texts stay on one line."""


class _Tagged(dict[str, Any]):
    """A template."""


class _Metadata(dict[str, Any]):
    """What is known of one."""


_Dumper.add_representer(_Tagged, lambda dumper, said: dumper.represent_mapping("!Template", said))
_Dumper.add_representer(_Metadata, lambda dumper, said: dumper.represent_mapping("!TemplateMetadata", said))


def templates_path(file: str | os.PathLike[str]) -> Path:
    """Where a data set's templates stand, if nobody says where: ``a.csv`` -> ``a.csv.templates.yaml``."""
    path = Path(file)
    return path.with_name(f"{path.name}.templates.yaml")


def write_template(path: Path, template: Template, *, dataset: str = "", overwrite: bool = False) -> None:
    """Add a template to a file, which is made if it is not there and is written whole or not at all.

    Args:
        dataset: what a new file says it belongs to.
        overwrite: replace a template of the same name.

    Raises:
        HalignError: the file is of another form, or has a template of that name.
    """
    whole: dict[str, Any] = {"dataset": dataset, "templates": {}}
    if path.exists():
        known = {t.name for t in read_templates(path)}
        if template.name in known and not overwrite:
            raise HalignError(
                f"{path} has a template {template.name!r}; give another --name, or replace it with --overwrite"
            )
        whole = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    kept = {k: t for k, t in whole["templates"].items() if str(t["name"]) != template.name}
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{template.name}\n{template.jinja}"))
    metadata: dict[str, Any] = {
        "choices_in_prompt": None,
        "metrics": [],
        "original_task": template.original_task,
    }
    made = {"answer_choices": template.answer_choices, "id": key, "jinja": template.jinja}
    kept[key] = {**made, "metadata": metadata, "name": template.name, "reference": ""}
    whole["templates"] = {
        k: _Tagged({**t, "metadata": _Metadata(t.get("metadata") or {})}) for k, t in kept.items()
    }
    text = yaml.dump(whole, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=10_000)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
