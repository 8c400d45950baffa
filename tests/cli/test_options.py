"""Options that commands share: every operation reads columns of other names and other encodings, and its lineage says so."""

from __future__ import annotations

import inspect
import json

import pytest
import typer
from typer.testing import CliRunner

from halign.cli.data_commands import app
from halign.cli.options import READING, Reading, Remote, asks, reads, remote_options
from halign.cli.outputs import command
from halign.errors import HalignError
from halign.readers import read

ROWS = "Frage,Antwort\n" + "".join(f"Grüße Nummer {i} von hier,Schöne Grüße zurück {i}\n" for i in range(6))
OPTIONS = ("--columns", "user=Frage,assistant=Antwort", "--encoding", "cp1252")


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def file(tmp_path):
    """A table that is neither UTF-8 nor of known columns."""
    (tmp_path / "in.csv").write_bytes(ROWS.encode("cp1252"))
    return tmp_path / "in.csv"


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("filter", ("--where", "words > 1")),
        ("dedupe", ("--threshold", "1")),
        ("decontaminate", ("--against", "TEST")),
        ("build", ()),
        ("mix", ("--size", "6")),
    ],
)
def test_every_operation_takes_columns_and_an_encoding(file, name, more):
    out, test = file.parent / "out.jsonl", file.parent / "test.jsonl"
    test.write_text(json.dumps({"question": "Something else"}) + "\n")
    words = [name, *([f"{__name__}:AGAIN"] if name == "build" else []), file, out]
    words += [test if word == "TEST" else word for word in more]
    with pytest.raises(HalignError, match="cp1252"):
        run(*words)
    run(*words, *OPTIONS)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 6
    assert any("Grüße Nummer" in json.dumps(r, ensure_ascii=False) for r in rows)
    (step,) = json.loads((file.parent / "out.jsonl.lineage.json").read_text())["steps"].values()
    assert step["settings"]["encoding"] == "cp1252"
    shown = run("trace", out, 1)
    assert "Grüße Nummer 0" in shown  # the source row was read as the step read it
    assert "has changed" not in shown


def test_split_and_card_take_them_too(file):
    run("split", file, "--output", file.parent / "parts", "--shares", "train=.5,test=.5", *OPTIONS)
    page = file.parent / "card.html"
    run("card", file, "--output", page, *OPTIONS)
    assert "Grüße Nummer" in page.read_text(encoding="utf-8")
    assert "Grüße Nummer 2" in run("trace", file, 4, *OPTIONS)  # the header is line 1
    with pytest.raises(HalignError, match="--skip-bad would have no effect on one row"):
        run("trace", file, 4, *OPTIONS, "--skip-bad")


def _again(rows, settings, tools):
    from halign.builders import Built, Made

    return Made([Built(r.example, (r,)) for r in rows])


def _builder():
    from halign.builders import Builder, BuilderSettings

    return Builder("again", "each row as it is", BuilderSettings, _again)


AGAIN = _builder()


def test_a_command_gets_its_options_as_one_value():
    found = []

    @reads
    @asks("--endpoint")
    def command(file: str, n: int = 1, *, remote: Remote, reading: Reading) -> None:
        """Help."""
        found.append((file, n, remote, reading))

    names = list(inspect.signature(command).parameters)
    assert names == ["file", "n", *remote_options("x"), *READING]
    own = typer.Typer()
    own.command()(command)
    words = ["f", "--n", "2", "--budget", "1.5", "--format", "pairs", "--columns", "prompt=q"]
    assert CliRunner().invoke(own, words).exit_code == 0
    ((file, n, remote, reading),) = found
    assert (file, n, remote.settings()["budget"], remote.dry_run) == ("f", 2, 1.5, False)
    assert reading.options(skip_bad=True) == {
        **dict.fromkeys(READING),
        "format": "pairs",
        "skip_bad": True,
        "columns": {"prompt": "q"},
    }
    assert "With --endpoint: price of a million prompt" in " ".join(
        CliRunner().invoke(own, ["--help"], env={"COLUMNS": "200"}).output.split()
    )


def test_a_second_endpoint_has_options_of_its_own():
    found = []

    @asks("--endpoint", job="--endpoint or --judge llm")
    @asks("--judge llm", "judge")
    def command(file: str, *, remote: Remote, judge_remote: Remote) -> None:
        found.append((remote, judge_remote))

    own = typer.Typer()
    own.command()(command)
    words = [
        "f",
        "--input-price",
        "1",
        "--judge-input-price",
        "2",
        "--judge-key-env",
        "K",
        "--budget",
        "3",
        "--dry-run",
    ]
    assert CliRunner().invoke(own, words).exit_code == 0
    assert found == [(Remote(input_price=1, budget=3, dry_run=True), Remote(input_price=2, key_env="K"))]
    help_of = " ".join(CliRunner().invoke(own, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "With --judge llm: price of a million prompt" in help_of
    assert "With --endpoint or --judge llm: stop before this is exceeded" in help_of
    assert CliRunner().invoke(own, ["f", "--judge-budget", "1"]).exit_code == 2


def test_options_are_what_the_readers_take():
    taken = set(inspect.signature(read).parameters) - {"source"}
    assert set(READING) == taken
    assert set(vars(Reading())) == taken


def test_a_command_is_noted_as_a_shell_takes_it(monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["/bin/halign", "judge", "my replies.jsonl", "--judge", "llm:m@http://x/v1"]
    )
    assert command() == "halign judge 'my replies.jsonl' --judge llm:m@http://x/v1"
