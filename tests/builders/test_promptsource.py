"""Templates by hand: separators, answer choices, pairs; files in PromptSource's form; what is refused."""

from __future__ import annotations

import csv

import pytest

from halign.builders import promptsource
from halign.builders.driver import build
from halign.builders.promptsource import BUILDER, Settings
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.lineage import trace
from halign.readers import read
from tests.builders.helpers import agent, lines, run, user

NLI = '{{premise}} Is it true that "{{hypothesis}}"? Yes, no, or maybe? ||| {{answer_choices[label]}}'
CHOICES = "Yes ||| Maybe ||| No"
ROWS = [
    {"premise": "A man rides.", "hypothesis": "He sleeps.", "label": 2},
    {"premise": "A ||| B", "hypothesis": "A.", "label": 0},
]
FILE = """
dataset: nli
templates:
  0a: !Template
    answer_choices: True ||| False ||| Neither
    id: 0a
    jinja: "{{premise}} Question: {{hypothesis}} True, False, or Neither? ||| {{ answer_choices[label] }}"
    metadata: !TemplateMetadata
      choices_in_prompt: true
      metrics: [Accuracy]
      original_task: true
    name: question
    reference: ''
  0b: !Template
    answer_choices: null
    id: 0b
    jinja: "{% if label == 2 %}Write what cannot be true if: {{premise}} ||| {{hypothesis}}{% endif %}"
    metadata: !TemplateMetadata
      original_task: false
    name: against
    reference: ''
"""


def test_input_and_target(tmp_path):
    report, rows = run(BUILDER, tmp_path, ROWS, {"template": NLI, "answer_choices": CHOICES})
    assert [r["messages"] for r in rows] == [
        [user('A man rides. Is it true that "He sleeps."? Yes, no, or maybe?'), agent("No")],
        [
            user('A ||| B Is it true that "A."? Yes, no, or maybe?'),
            agent("Yes"),
        ],  # a column's bars separate nothing
    ]
    assert rows[0]["answer_choices"] == ["Yes", "Maybe", "No"]
    assert [r["lineage"]["row"] for r in rows] == [1, 2]
    assert report.tallies == {"prompts by 'template'": 2}
    assert len(read(tmp_path / "out.jsonl")) == 2


def test_choices_of_the_row(tmp_path):
    row = {"q": "Which?", "options": ["x ||| y", "z"], "right": 0}
    settings = {
        "template": "{{q}} ||| {{answer_choices[right]}}",
        "answer_choices": "{{options | join(' ||| ')}}",
    }
    _, (built,) = run(BUILDER, tmp_path, [row], settings)
    assert built["messages"][1] == agent("x ||| y")
    assert built["answer_choices"] == ["x ||| y", "z"]


def test_other_choices_are_rejected(tmp_path):
    settings = {"template": NLI, "answer_choices": CHOICES, "wrong": "all"}
    _, rows = run(BUILDER, tmp_path, ROWS, settings)
    found = [(r["chosen"][0]["content"], r["rejected"][0]["content"]) for r in rows]
    assert found == [("No", "Yes"), ("No", "Maybe"), ("Yes", "Maybe"), ("Yes", "No")]
    _, rows = run(BUILDER, tmp_path, ROWS * 8, {**settings, "wrong": "one"}, "b.jsonl")
    assert len(rows) == 16
    assert {r["rejected"][0]["content"] for r in rows[::2]} == {"Yes", "Maybe"}


def test_a_target_that_is_no_choice(tmp_path):
    settings = {"template": "{{premise}} ||| {{hypothesis}}", "answer_choices": "A. ||| B.", "wrong": "all"}
    report, rows = run(BUILDER, tmp_path, ROWS, settings)
    assert report.dropped == {promptsource.ONLY: 1}
    assert [r["rejected"] for r in rows] == [[agent("B.")]]


def test_a_file_of_templates(tmp_path):
    (tmp_path / "t.yaml").write_text(FILE)
    report, rows = run(BUILDER, tmp_path, ROWS, {"templates": tmp_path / "t.yaml"})
    assert [(r["template"], r["messages"][1]["content"]) for r in rows] == [
        ("question", "Neither"),
        ("against", "He sleeps."),
        ("question", "True"),
    ]
    assert report.dropped == {promptsource.EMPTY: 1}  # the second template is not for the second row
    assert report.tallies == {"prompts by 'question'": 2, "prompts by 'against'": 1}
    assert report.notes == ["2 templates, 1 of them said to ask for the data set's original task"]
    _, rows = run(
        BUILDER, tmp_path, ROWS, {"templates": tmp_path / "t.yaml", "names": ["against"]}, "b.jsonl"
    )
    assert [r["template"] for r in rows] == ["against"]


def test_random_choices_depend_on_the_row_alone(tmp_path):
    rows = [{"a": i} for i in range(20)]
    settings = {"template": "{{ ['x', 'y', 'z'] | choice }} {{a}} ||| {{ [1, 2, 2] | most_frequent | join }}"}
    _, whole = run(BUILDER, tmp_path, rows, settings)
    _, parts = run(BUILDER, tmp_path, rows, {**settings, "chunk": 3}, "b.jsonl")
    assert [r["messages"] for r in whole] == [r["messages"] for r in parts]
    assert {r["messages"][0]["content"][0] for r in whole} == {"x", "y", "z"}
    assert whole[0]["messages"][1]["content"] == "2"


def test_a_table(tmp_path):
    with (tmp_path / "in.csv").open("w", newline="") as file:
        rows = [
            ["premise", "hypothesis", "label", "note"],
            ["It rains.", "It pours.", "1", ""],
            ["a", "b", "0", "c"],
        ]
        csv.writer(file).writerows(rows)
    template = f"{{% if note %}}{{{{note}}}}: {{% endif %}}{NLI}"
    settings = Settings(template=template, answer_choices=CHOICES)
    build(BUILDER, RowSource(tmp_path / "in.csv"), tmp_path / "out.jsonl", settings)
    first, second = lines(tmp_path / "out.jsonl")
    assert first["messages"][0]["content"].startswith("It rains.")  # an empty cell is a column too
    assert second["messages"][0]["content"].startswith("c: a")
    assert first["messages"][1] == agent("Maybe")
    assert trace(tmp_path / "out.jsonl", 2)[1].row["note"] == "c"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "one of the two"),
        ({"template": "{{a}}"}, r"has no \|\|\|"),
        ({"template": "{{a ||| b}}"}, "is no Jinja"),
        (
            {"template": "{{premise}} ||| {{lable}}"},
            "row 1: .*'lable' is undefined; the row has: premise, hypothesis, label",
        ),
        ({"template": NLI, "answer_choices": "Yes ||| No"}, "row 1: "),
        ({"template": NLI, "names": ["x"]}, "names has no effect"),
        ({"template": "{{ ().__class__.__base__.__subclasses__() }} ||| b"}, "row 1: "),
    ],
)
def test_refused(tmp_path, settings, error):
    with pytest.raises(HalignError, match=error):
        run(BUILDER, tmp_path, ROWS, settings)


def test_files_that_are_refused(tmp_path):
    (tmp_path / "t.yaml").write_text(FILE)
    with pytest.raises(HalignError, match="no template 'agianst'; it has: question, against"):
        run(BUILDER, tmp_path, ROWS, {"templates": tmp_path / "t.yaml", "names": ["agianst"]})
    (tmp_path / "t.yaml").write_text("templates: [1]")
    with pytest.raises(HalignError, match="cannot be read"):
        run(BUILDER, tmp_path, ROWS, {"templates": tmp_path / "t.yaml"})
