"""Templates browsed, created and measured: what is shown, what is refused, and numbers by hand."""

from __future__ import annotations

import math

import pytest
import yaml
from typer.testing import CliRunner

from halign.builders.prompt_metrics import tried
from halign.builders.prompt_templates import Template, read_templates, templates_path
from halign.cli.data_commands import app
from halign.curation.source import Row
from halign.errors import HalignError
from halign.readers import read
from tests.builders.test_promptsource import CHOICES, FILE, NLI
from tests.cli.test_data import cell


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def file(tmp_path):
    """Four rows: the label is 0 twice, 1 once, 2 once."""
    rows = ["premise,hypothesis,label", "A man rides.,He sleeps.,2", "It rains.,It is wet.,0"]
    rows += ["She sings.,It is loud.,1", "They play.,They move.,0"]
    (tmp_path / "nli.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "nli.csv"


def create(file, name, template, *more):
    return run("prompts", "create", file, "--name", name, "--template", template, *more)


def test_from_a_first_template_to_examples(file):
    assert "no templates yet" in run("prompts", "browse", file, "-n", 1)
    said = create(file, "entails", NLI, "--answer-choices", CHOICES, "--original-task")
    path = file.with_name("nli.csv.templates.yaml")
    assert str(path) in said.replace("\n", "")
    assert "4 of 4" in said
    assert "1: 50%, 2: 25%, 3: 25%" in said
    entropy = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(3)
    assert f"{entropy:.2f}" in said
    create(
        file, "rest", "{% if label == 0 %}Go on: {{premise}} ||| {{hypothesis}}{% endif %}", "--other-task"
    )
    assert templates_path(file) == path
    assert read_templates(path) == [
        Template("entails", NLI, CHOICES, True),
        Template("rest", "{% if label == 0 %}Go on: {{premise}} ||| {{hypothesis}}{% endif %}", None, False),
    ]
    said = run("prompts", "browse", file, "-n", 2, "--start", 2)
    assert "It rains. Is it true that" in said
    assert "assistant: Yes" in said
    assert "She sings." in said
    assert "no input or no target here" in said  # the second template on the third row
    assert "A man rides." not in said
    assert "Go on" not in run("prompts", "browse", file, "--name", "entails")
    out = file.with_name("out.jsonl")
    run("build", "promptsource", file, out, f"templates={path}")
    assert len(read(out)) == 6


def test_a_file_is_of_promptsources_form_and_keeps_what_it_had(file):
    path = file.with_name("more.yaml")
    path.write_text(FILE)
    create(file, "loud", "{{premise}} ||| {{hypothesis}}", "--templates", path)
    text = path.read_text()
    assert text.count("!Template\n") == 3
    assert text.count("!TemplateMetadata\n") == 3
    found = read_templates(path)
    assert [t.name for t in found] == ["question", "against", "loud"]
    assert found[0].original_task is True
    assert found[2].original_task is None
    plain = yaml.load(text.replace("!TemplateMetadata", "").replace("!Template", ""), yaml.SafeLoader)
    assert plain["dataset"] == "nli"
    assert plain["templates"]["0a"]["metadata"]["metrics"] == ["Accuracy"]
    assert {k: t["id"] for k, t in plain["templates"].items()} == {k: k for k in plain["templates"]}
    with pytest.raises(HalignError, match="has a template 'loud'; give another --name"):
        create(file, "loud", "{{premise}}! ||| {{hypothesis}}", "--templates", path)
    create(file, "loud", "{{premise}}! ||| {{hypothesis}}", "--templates", path, "--overwrite")
    assert read_templates(path)[2].jinja == "{{premise}}! ||| {{hypothesis}}"
    assert len(read_templates(path)) == 3


@pytest.mark.parametrize(
    ("template", "more", "message"),
    [
        ("{{premise}}", (), "no |||"),
        ("{{premise ||| x", (), "is no Jinja"),
        ("{{premise}} ||| {{note}}", (), r"row 2 \(4 of 4 rows fail\): .*'note' is undefined; the row has: premise"),
        ("{{premise}} ||| {{answer_choices[label]}}", ("--answer-choices", "Yes ||| No"), r"row 2 \(1 of 4"),
        ("{% if label > 5 %}a ||| b{% endif %}", (), "none of 4 rows has both"),
        ("{{premise}} ||| x", ("--answer-choices", "Yes ||| No"), "no row's target is one of its"),
    ],
)  # fmt: skip
def test_templates_that_do_not_work_are_not_written(file, template, more, message):
    with pytest.raises(HalignError, match=message.replace("|||", r"\|\|\|")):
        create(file, "bad", template, *more)
    assert not templates_path(file).exists()


def test_metrics_of_a_collection(file):
    other, third = file.with_name("other.csv"), file.with_name("third.csv")
    for one in (other, third):
        one.write_text(file.read_text())
    create(file, "entails", NLI, "--answer-choices", CHOICES, "--original-task")
    create(other, "half", "{% if label == 0 %}Go on: {{premise}} ||| {{hypothesis}}{% endif %}")
    said = run("prompts", "metrics", file, other, third)
    assert cell(said, "data sets") == "3, 2 of them with templates"
    assert cell(said, "templates") == "2, 1 of them for the original task"
    assert cell(said, "with answer choices") == "1"
    assert cell(said, "prompts") == "6 of 8 rows and templates (75.0%)"
    assert cell(said, "without templates") == str(third)
    with pytest.raises(HalignError, match="--templates is for one FILE"):
        run("prompts", "metrics", file, other, "--templates", templates_path(file))
    with pytest.raises(HalignError, match="has no template 'x'; it has: entails"):
        run("prompts", "browse", file, "--name", "x")


def test_numbers_of_a_template_by_hand():
    rows = [Row(n, {"q": q, "a": a}, None, None, str(n)) for n, (q, a) in enumerate(
        [("one two", "Yes"), ("three", "No"), ("four five six", "Perhaps"), ("", "No"), ("x", "No")], 1
    )]  # fmt: skip
    broken = Row(6, {"q": "y"}, None, None, "6")
    (found,) = tried([Template("t", "{{q}} ||| {{a}}", "Yes ||| No")], [*rows, broken])
    assert (found.rows, found.rendered, found.empty, found.failed) == (6, 4, 1, 1)
    assert found.first_failure[0] == 6
    assert (found.input_words, found.target_words) == (2 + 1 + 3 + 1, 4)
    assert found.places == {0: 1, 1: 2, None: 1}
    thirds = -(1 / 3 * math.log2(1 / 3) + 2 / 3 * math.log2(2 / 3))
    assert found.balance == pytest.approx(thirds)
    assert tried([Template("t", "{{q}} ||| {{a}}")], rows)[0].balance is None
