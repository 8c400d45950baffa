"""Persona sheets as rubrics: is a reply in character, within what the persona knows, and in its voice?

A sheet is YAML with ``name``, ``who`` (who it is, in a sentence or two) and the lists ``voice`` (how it speaks), ``knows`` and
``does_not_know``; or Markdown whose title is the name, whose text before the first section is ``who``, and whose sections
"Voice", "Knows" and "Does not know" hold the lists. A language model judges by the rubrics that ``Persona.rubrics`` makes:
``halign.judges.llm(..., dimensions=persona.rubrics())``, or as files, ``persona.save(folder)``, for ``halign judge --rubric``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from halign.errors import HalignError
from halign.judges.rubric import Rubric

LISTS = ("voice", "knows", "does_not_know")
CHARACTER, KNOWLEDGE, VOICE = "in_character", "within_knowledge", "in_voice"


@dataclass(frozen=True)
class Persona:
    """One sheet."""

    name: str
    who: str
    voice: tuple[str, ...] = ()
    knows: tuple[str, ...] = ()
    does_not_know: tuple[str, ...] = ()

    def rubrics(self) -> list[Rubric]:
        """One rubric for each question that the sheet has something to say about; yes or no, and "it cannot be told"."""
        found = [
            _rubric(
                CHARACTER,
                f"whether the assistant speaks and acts as {self.name}, who is this: {self.who}. What counts is who speaks, not "
                "whether it is right; a reply that steps out of the part (as a program, as somebody else, about its "
                "instructions) is out of character",
                "nothing in it is out of character",
                (
                    "it steps out of the part, or acts as somebody else would",
                    "it is what this character would say",
                ),
            )
        ]
        if self.knows or self.does_not_know:
            bounds = _listed("knows about", self.knows) + _listed("does not know about", self.does_not_know)
            found.append(
                _rubric(
                    KNOWLEDGE,
                    f"whether the reply stays within what {self.name} knows.{bounds}\nWhat was said in the conversation is known "
                    "as well. To say that one does not know, or to send somebody on, stays within",
                    "it claims nothing that this character cannot know",
                    (
                        "it claims to know what this character cannot know",
                        "it stays within what this character knows",
                    ),
                )
            )
        if self.voice:
            found.append(
                _rubric(
                    VOICE,
                    f"whether the reply is in the voice of {self.name}.{_listed('speaks like this', self.voice)}\nWhat is said "
                    "does not count, only how",
                    "every trait of the voice that has an occasion is kept",
                    ("it breaks a trait of the voice", "it is in this voice"),
                )
            )
        return found

    def save(self, folder: str | Path) -> list[Path]:
        """Write the rubrics as files, for ``--rubric``."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        files = []
        for rubric in self.rubrics():
            files.append(Path(folder) / f"{rubric.name}.yaml")
            fields = rubric.model_dump(mode="json", exclude_defaults=True)
            files[-1].write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120))
        return files


def read_persona(file: str | Path) -> Persona:
    """The persona of a sheet (.yaml, .yml, .md).

    Raises:
        HalignError: no such file, a field or section that is not known, no name or no ``who``.
    """
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8-sig")
        row = _sections(text) if path.suffix == ".md" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise HalignError(f"persona {path} cannot be read: {error}") from None
    known = ("name", "who", *LISTS)
    if not isinstance(row, Mapping) or (strange := set(row) - set(known)):
        said = (
            ""
            if not isinstance(row, Mapping)
            else f": no field or section {', '.join(sorted(map(str, strange)))}"
        )
        raise HalignError(f"persona {path}{said}; there is {', '.join(known)}")
    for needed in ("name", "who"):
        if not row.get(needed):
            raise HalignError(f"persona {path}: {needed} is missing")
    lists = {k: _texts(row.get(k), f"persona {path}: {k}") for k in LISTS}
    return Persona(str(row["name"]).strip(), str(row["who"]).strip().rstrip("."), **lists)


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return (value.strip(),)
    if not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
        raise HalignError(f"{where}: a list of texts is needed")
    return tuple(v.strip() for v in value)


def _sections(text: str) -> dict[str, Any]:
    """Title, text and lists of a Markdown sheet."""
    row: dict[str, Any] = {}
    who: list[str] = []
    at = ""
    for line in text.splitlines():
        if title := re.match(r"#\s+(.+)", line):
            row["name"] = title[1].strip()
        elif head := re.match(r"##+\s+(.+)", line):
            at = re.sub(r"\W+", "_", head[1].strip().lower())
            row[at] = []
        elif line.strip() and at:
            item = re.sub(r"^\s*(?:[-*+]|\d+[.)])\s+", "", line)
            if item == line and row[at]:
                row[at][-1] += f" {line.strip()}"
            else:
                row[at].append(item.strip())
        elif line.strip():
            who.append(line.strip())
    return {**row, "who": " ".join(who)} if who else row


def _listed(lead: str, items: Sequence[str]) -> str:
    return f"\nThis character {lead}:\n" + "\n".join(f"- {i}" for i in items) if items else ""


def _rubric(name: str, criteria: str, acceptable: str, scale: tuple[str, str]) -> Rubric:
    row = {"name": name, "criteria": criteria, "acceptable": acceptable, "scale": dict(enumerate(scale))}
    return Rubric.model_validate({**row, "acceptable_grades": (1,)})
