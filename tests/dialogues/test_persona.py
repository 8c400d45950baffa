"""Persona sheets: what rubrics they make, and what a judge is asked."""

import pytest

from halign.dialogue import Dialogue
from halign.dialogues.persona import read_persona
from halign.errors import HalignError
from halign.judges.language_model import LanguageModelJudge
from halign.judges.numbers import Answered
from halign.judges.rubric import load_rubric

SHEET = """\
name: Captain Ada
who: The captain of a river ferry who talks with passengers.
voice: [short sentences, "no technical words"]
knows: [the timetable of her ferry]
does_not_know: [prices of other lines]
"""
MARKDOWN = """\
# Captain Ada

The captain of a river ferry
who talks with passengers.

## Voice
- short sentences
- no technical
  words

## Knows
- the timetable of her ferry

## Does not know
- prices of other lines
"""


@pytest.fixture
def sheet(tmp_path):
    file = tmp_path / "ada.yaml"
    file.write_text(SHEET)
    return file


def test_both_forms_say_the_same(sheet, tmp_path):
    (tmp_path / "ada.md").write_text(MARKDOWN)
    persona = read_persona(sheet)
    assert read_persona(tmp_path / "ada.md") == persona
    assert persona.voice == ("short sentences", "no technical words")
    assert persona.who == "The captain of a river ferry who talks with passengers"


def test_three_questions_each_with_its_part_of_the_sheet(sheet):
    character, knowledge, voice = read_persona(sheet).rubrics()
    assert [r.name for r in (character, knowledge, voice)] == ["in_character", "within_knowledge", "in_voice"]
    assert "river ferry" in character.criteria
    assert "- prices of other lines" in knowledge.criteria.split("does not know about")[1]
    assert "- the timetable" in knowledge.criteria.split("does not know about")[0]
    assert "short sentences" in voice.criteria
    assert "short sentences" not in knowledge.criteria
    assert all(r.acceptable_grades == (1,) and list(r.scale) == [0, 1] for r in (character, knowledge, voice))


def test_what_the_sheet_does_not_say_is_not_asked(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("name: Bo\nwho: a gardener")
    assert [r.name for r in read_persona(file).rubrics()] == ["in_character"]


def test_saved_rubrics_are_read_back(sheet, tmp_path):
    persona = read_persona(sheet)
    assert [load_rubric(f) for f in persona.save(tmp_path / "rubrics")] == persona.rubrics()


class Numbers:
    """Finds "as a language model" out of character, all else fine."""

    name, settings, client = "fake", {}, None

    def ask(self, questions):
        self.asked = [q.text for q in questions]
        bad = ["part" in q.choices.get(0, "") and "as a language model" in q.text for q in questions]
        return [Answered({0: 0.9 if b else 0.1, 1: 0.1 if b else 0.9}, "") for b in bad]


def test_a_judge_goes_by_the_sheet(sheet):
    numbers = Numbers()
    judge = LanguageModelJudge(numbers, read_persona(sheet).rubrics())
    prompt = Dialogue.of([{"role": "user", "content": "When do you leave?"}])
    marks = judge.marks([prompt, prompt], ["At nine.", "I cannot leave as a language model."])
    assert [[m.acceptable for m in some] for some in marks] == [[True] * 3, [False, True, True]]
    assert all("When do you leave?" in q for q in numbers.asked)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a", "who is missing"),
        ("who: b", "name is missing"),
        ("name: a\nwho: b\nage: 3", "no field or section age"),
        ("name: a\nwho: b\nvoice: 3", "voice: a list of texts"),
        ("- a", "there is name, who"),
    ],
)
def test_sheets_that_are_wrong(tmp_path, text, message):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(HalignError, match=message):
        read_persona(file)
