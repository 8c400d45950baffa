"""Rubrics: what a judge is asked, as files.

A rubric is YAML, or Markdown whose head (between two lines ``---``) is that YAML and whose text is ``criteria``. Its name, the
dimension in records, is the file's unless it says another. Rubrics of the house: adherence, naturalness, hallucination (seed
000, arXiv 2406.18954), helpfulness, harmlessness.

>>> rubric = load_rubric("naturalness")
>>> rubric.name, list(rubric.scale), rubric.acceptable_grades
('naturalness', [1, 2, 3, 4], (3, 4))
>>> list(rubric.grades().values())[-1]
'it cannot be told'
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from halign.dialogue import Dialogue
from halign.errors import HalignError
from halign.judges.protocol import Verdict
from halign.judges.questions import GRADE_QUESTION, PAIR_QUESTION, filled, transcript

HOUSE = Path(__file__).parent / "rubrics"
REFERENCE = "reference"
"""Where a prompt's ``meta`` has the reference answer."""
UNTOLD = "it cannot be told"

PAIR_ANSWERS = {
    1: ("reply 1 is better", Verdict.A),
    2: ("reply 2 is better", Verdict.B),
    3: ("both are acceptable", Verdict.BOTH),
    4: ("neither is acceptable", Verdict.NEITHER),
}
"""Answer to a question about a pair -> its words and the verdict, reply 1 being A."""
PERSONA = "persona:"
"""Before a persona sheet's path, where rubrics are named."""
YES, NO = 1, 2
YES_OR_NO = {YES: "yes", NO: "no"}


class Rubric(BaseModel):
    """What a judge is asked on one dimension."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="the dimension, as records call it")
    criteria: str = Field(
        min_length=1, description="what counts, in words that go on from “What counts is this:”"
    )
    acceptable: str = Field(
        "a careful person would send it", description="when a reply is acceptable, in words"
    )
    scale: dict[int, str] = Field(
        default_factory=lambda: {0: "it is not acceptable", 1: "it is acceptable"},
        description="grade -> what it means; whole numbers in a row, within 0 to 10, the highest the best",
    )
    acceptable_grades: tuple[int, ...] = Field(
        (), description="grades of an acceptable reply; none: not said"
    )
    abstain: bool = Field(True, description="whether “it cannot be told” is an answer")
    each_guardrail: bool = Field(
        False,
        description="graded alone, whether each guardrail that applies is kept, where the prompt has guardrails",
    )
    reference: Literal["none", "optional", "required"] = Field(
        "none", description="whether the prompt's reference answer (meta: reference) is shown"
    )
    pair_template: str = Field(PAIR_QUESTION, description="Jinja over the words of PAIR_QUESTION")
    grade_template: str = Field(GRADE_QUESTION, description="Jinja over the words of GRADE_QUESTION")

    @field_validator("scale", mode="before")
    @classmethod
    def _in_words(cls, scale: Any) -> Any:
        """YAML takes a bare yes or no for true or false."""
        if not isinstance(scale, dict):
            return scale
        return {k: ("no", "yes")[v] if isinstance(v, bool) else v for k, v in scale.items()}

    @model_validator(mode="after")
    def _fits(self) -> Rubric:
        grades = sorted(self.scale)
        if (
            len(grades) < 2
            or grades != list(range(grades[0], grades[-1] + 1))
            or grades[0] < 0
            or grades[-1] > 10
        ):
            raise ValueError(f"scale: {grades} are not two or more whole numbers in a row within 0 to 10")
        if strange := set(self.acceptable_grades) - set(grades):
            raise ValueError(f"acceptable_grades: {sorted(strange)} are not on the scale")
        if self.abstain and (grades[0], grades[-1]) == (0, 10):
            raise ValueError(
                "scale: 0 to 10 leaves no number for “it cannot be told”; set abstain: false, or take 1 to 10"
            )
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Worst and best grade."""
        return float(min(self.scale)), float(max(self.scale))

    @property
    def untold(self) -> int | None:
        """The grade question's number for "cannot be told": the one after the scale, or before it where it ends at 10."""
        top = max(self.scale)
        return (top + 1 if top < 10 else min(self.scale) - 1) if self.abstain else None

    def grades(self) -> dict[int, str]:
        """Answers to the grade question."""
        return with_untold({k: self.scale[k] for k in sorted(self.scale)}, self.untold)

    def pair_answers(self) -> dict[int, str]:
        """Answers to the question about a pair."""
        return with_untold({k: words for k, (words, _) in PAIR_ANSWERS.items()}, 5 if self.abstain else None)

    def pair_question(self, prompt: Dialogue, first: str, second: str, other: Dialogue | None = None) -> str:
        """The question about two replies; ``other``: the prompt of the second one, where it is another."""
        return filled(
            self.pair_template,
            criteria=self.criteria,
            acceptable=self.acceptable,
            conversation=transcript(prompt),
            other=transcript(other or prompt),
            apart=other is not None,
            first=first,
            second=second,
            reference=self.shown_reference(prompt),
        )

    def grade_question(self, prompt: Dialogue, reply: str) -> str:
        """The question about one reply."""
        return filled(
            self.grade_template,
            criteria=self.criteria,
            acceptable=self.acceptable,
            conversation=transcript(prompt),
            reply=reply,
            reference=self.shown_reference(prompt),
        )

    def shown_reference(self, prompt: Dialogue) -> str:
        """The reference answer that the judge gets to see; "" for none.

        Raises:
            HalignError: the rubric needs one and the prompt has none.
        """
        if self.reference == "none":
            return ""
        found = prompt.meta.get(REFERENCE, "")
        if self.reference == "required" and not found:
            raise HalignError(
                f"rubric {self.name}: a prompt of conversation {prompt.meta.get('conversation')!r} has no reference answer; put "
                f'it into the prompt\'s meta as "{REFERENCE}", or set reference: optional'
            )
        return "\n\n".join(map(str, found)) if isinstance(found, list | tuple) else str(found)


def with_untold(answers: dict[int, str], untold: int | None) -> dict[int, str]:
    """The answers, and "it cannot be told" under its number."""
    return answers if untold is None else dict(sorted({**answers, untold: UNTOLD}.items()))


def house_rubrics() -> list[str]:
    """Names of the rubrics that come with the package."""
    return sorted(f.stem for f in HOUSE.glob("*.yaml"))


def load_rubric(name: str | Path | Rubric) -> Rubric:
    """A rubric by its name, or from a .yaml, .yml or .md file.

    Raises:
        HalignError: there is none, or it does not hold what a rubric holds.
    """
    if isinstance(name, Rubric):
        return name
    file = Path(name) if Path(name).suffix in (".yaml", ".yml", ".md") else HOUSE / f"{name}.yaml"
    if not file.exists():
        raise HalignError(
            f"no rubric {str(name)!r}: there are {', '.join(house_rubrics())}, and files of your own (.yaml, .md) by their path"
        )
    try:
        head = _of_markdown(file.read_text()) if file.suffix == ".md" else yaml.safe_load(file.read_text())
        if not isinstance(head, dict):
            raise ValueError("it holds no fields")
        return Rubric(**{"name": file.stem, **head})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'rubric'}: {e['msg']}" for e in error.errors())
        raise HalignError(f"rubric {file}: {said}. Fields are {', '.join(Rubric.model_fields)}") from None
    except (ValueError, yaml.YAMLError) as error:
        raise HalignError(f"rubric {file}: {error}") from None


def load_rubrics(names: Iterable[str | Path | Rubric]) -> tuple[Rubric, ...]:
    """Several rubrics; ``persona:FILE`` stands for those that a persona sheet makes.

    Raises:
        HalignError: as ``load_rubric`` and ``read_persona``; none, or two of one name.
    """
    found = tuple(rubric for name in names for rubric in _named(name))
    called = [r.name for r in found]
    if not found or len(set(called)) < len(called):
        raise HalignError(f"rubrics {', '.join(called) or '(none)'}: name one or more, each once")
    return found


def _named(name: str | Path | Rubric) -> list[Rubric]:
    if isinstance(name, str) and name.startswith(PERSONA):
        from halign.dialogues.persona import read_persona

        return read_persona(name.removeprefix(PERSONA)).rubrics()
    return [load_rubric(name)]


def _of_markdown(text: str) -> dict[str, Any]:
    """Head and body of a Markdown file.

    >>> _of_markdown("---\\nabstain: false\\n---\\nwhether it rhymes\\n")
    {'criteria': 'whether it rhymes', 'abstain': False}
    """
    if not text.startswith("---\n"):
        return {"criteria": text.strip()}
    head, mark, body = text[4:].partition("\n---")
    if not mark:
        raise ValueError("its head has no end: a line --- is missing")
    return {"criteria": body.strip(), **(yaml.safe_load(head) or {})}
