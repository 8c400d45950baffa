"""The operations of ``halign data`` as a user meets them: what is written, what is printed, how mistakes are met."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from halign.cli.data_commands import app
from halign.errors import HalignError
from halign.readers import read, write_rows
from tests.cli.test_data import cell
from tests.curation.plainly import rows_of, talk


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "100", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


class Words:
    """A reward: as many points as the reply has words."""

    def score(self, prompts, replies):
        return [float(len(r.split())) for r in replies]


@pytest.fixture
def file(tmp_path):
    rows = [
        talk(f"Question number {i} of them", f"c{i}", "word " * (i + 1), domain="ab"[i % 2])
        for i in range(10)
    ]
    write_rows(
        [*rows, talk("question NUMBER 3 of them", "again", "word word word word")], tmp_path / "in.jsonl"
    )
    return tmp_path / "in.jsonl"


def test_filter(file):
    out = file.parent / "out.jsonl.gz"
    said = run(
        "filter",
        file,
        out,
        "--reward",
        "tests.cli.test_data_commands:Words",
        "--above",
        5,
        "--where",
        "words < 9",
        "--dropped",
    )
    assert (cell(said, "read"), cell(said, "kept")) == ("11", "4")
    assert cell(said, "dropped: grade below the threshold") == "5"
    assert cell(said, "dropped: not: words < 9") == "2"
    assert [e.dialogue.meta["grade"] for e in read(out)] == [5, 6, 7, 8]
    assert len(read(file.parent / "out.dropped.jsonl.gz")) == 7
    with pytest.raises(HalignError, match="exists; replace it with --overwrite"):
        run("filter", file, out, "--where", "words < 9")
    for options, says in (
        (["--budget", "1", "--where", "words > 1"], "--budget would have no effect without --judge"),
        (["--judge", "http://x/v1", "--above", "1"], "--judge needs --model"),
        (["--judge", "http://x/v1", "--reward", "care"], "name one of them"),
        (["--where", "wrds > 1"], "did you mean 'words'"),
    ):
        with pytest.raises(HalignError, match=says):
            run("filter", file, file.parent / "new.jsonl", *options)
    with pytest.raises(HalignError, match="is read as well"):
        run("filter", file, file, "--where", "words < 9", "--overwrite")


def test_mix(file):
    other = file.parent / "other.jsonl"
    write_rows([talk(f"Other {i}", f"d{i}") for i in range(6)], other)
    out = file.parent / "mix.jsonl"
    said = run("mix", f"{file}=0.6", f"{other}=0.4", out, "--size", 10)
    assert cell(said, "in.jsonl") == "6 of 11 rows (60.0% of the mix)"
    assert len(read(out)) == 10
    run("mix", f"{file}=0.6", f"{other}=0.4", out, "--sizes", "3,9")
    small, large = ({r["id"] for r in rows_of(file.parent / f"mix-{n}.jsonl")} for n in (3, 9))
    assert (len(small), len(large)) == (3, 9)
    assert small < large
    run("mix", f"{file}=2", f"{other}=1", file.parent / "n.jsonl")
    assert len(read(file.parent / "n.jsonl")) == 3
    for options, says in (
        ([f"{file}=0.5", file.parent / "x.jsonl"], "say how many rows of it"),
        ([f"{file}", file.parent / "x.jsonl", "--size", 40], r"11 rows, and 40 are asked of it.*--repeat"),
        ([f"{file}", file.parent / "x.jsonl", "--sizes", "a"], "expected whole numbers"),
    ):
        with pytest.raises(HalignError, match=says):
            run("mix", *options)


def test_dedupe_and_trace(file):
    out = file.parent / "out.jsonl"
    said = run("dedupe", file, out)
    assert cell(said, "dropped: the same as another row") == "1"
    assert cell(said, "like row 4") == "1"
    again = file.parent / "again.jsonl"
    run("filter", out, again, "--where", "words > 4")
    said = run("trace", again, 2)
    flat = " ".join(said.split())
    assert "made by filter" in flat
    assert "made by dedupe" in flat
    assert "user: Question number 5 of them" in flat
    assert json.loads(run("trace", again, 2, "--json"))["parents"][0]["source"]["row"] == 6
    file.write_text(file.read_text().replace("Question number 5", "Question number five"))
    flat = " ".join(run("trace", again, 2).split())
    assert "this row has changed since" in flat
    assert "Question number five" in flat
    assert "says nothing of where this row comes from" in " ".join(run("trace", file, 1).split())


def test_decontaminate(file):
    test = file.parent / "test.jsonl"
    write_rows([{"question": "Question number 7 of them", "answer": "x"}], test)
    said = run("decontaminate", file, file.parent / "out.jsonl", "--against", test)
    assert "row 8: a message is the text as row 1 of test.jsonl" in said
    assert "question number 7 of them" in said
    assert cell(said, "kept") == "10"
    with pytest.raises(HalignError, match="name one with --column"):
        run("decontaminate", file, file.parent / "new.jsonl", "--against", test, "--column", "colour")


def test_split(file):
    rows = rows_of(file)[:10]
    write_rows(rows, file)
    said = run(
        "split",
        file,
        "--output",
        file.parent / "parts",
        "--shares",
        "train=.6,test=.4",
        "--stratify",
        "domain",
    )
    assert cell(said, "train.jsonl").startswith("6 rows (60.0%) of 6 conversations: ")
    train, test = (rows_of(file.parent / "parts" / f"{n}.jsonl") for n in ("train", "test"))
    assert sorted(r["domain"] for r in test) == ["a", "a", "b", "b"]
    assert {r["id"] for r in train}.isdisjoint(r["id"] for r in test)
    for options, says in (
        (["--shares", "a"], "part=share"),
        (["--threshold", ".5"], "no effect without --together"),
    ):
        with pytest.raises(HalignError, match=says):
            run("split", file, "--output", file.parent / "new", *options)


def test_card(file):
    out = file.parent / "out.jsonl"
    run("dedupe", file, out)
    (file.parent / "out.jsonl.card.yaml").write_text(
        "licence: MIT & more\nsource: made up\nannotators: [a, b]\n"
    )
    run("card", out, "--output", file.parent / "card.html", "--title", "<Mine>", "--source", "elsewhere")
    page = (file.parent / "card.html").read_text()
    assert "<h1>&lt;Mine&gt;</h1>" in page
    assert "MIT &amp; more" in page
    assert "elsewhere" in page
    assert "made up" not in page
    assert "[a, b]" in page
    assert "dedupe" in page
    assert "as it was" in page
    assert "Question number" in page
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("command", ["filter", "mix", "dedupe", "decontaminate", "split", "card", "trace"])
def test_help_says_what_each_option_does(command):
    assert "--" in run(command, "--help")
