"""``halign data`` as a user meets it: what is printed, what is written, how it ends."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from typer.testing import CliRunner

from halign.cli.data import app
from halign.errors import HalignError
from halign.examples import Demonstration, Preference, Ranking, Rating
from halign.readers import read

USER = {"role": "user", "content": "My mug broke."}
ROW = {
    "id": "c1",
    "guardrails": ["Never promise a refund."],
    "messages": [
        USER,
        {
            "role": "assistant",
            "content": "I am sorry. May I have the order number?",
            "alternatives": [
                {"content": "You get your money back.", "rank": 3, "violates": "Never promise a refund."},
                {"content": "And?", "rank": 2},
            ],
        },
        {"role": "user", "content": "It is 7."},
        {
            "role": "assistant",
            "content": "Thank you.",
            "alternatives": [{"content": "[bold]Ok[/bold]", "rank": 2}],
        },
    ],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps({**ROW, "id": f"c{i}"}) + "\n" for i in range(3)))
    return path


@pytest.fixture
def model(tmp_path):
    """A tokenizer of one token per byte, with a chat template of one token around each message."""
    alphabet = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE({**alphabet, "<end>": len(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role[0] }}{{ m.content }}<end>{% endfor %}"
        "{% if add_generation_prompt %}a{% endif %}"
    )
    tokenizer.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "80", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    assert max(map(len, result.output.splitlines())) <= 80
    return result.output


def cell(output, name):
    """The second column of the row whose first column is ``name``."""
    row = next(line for line in output.splitlines() if line.strip("│ ").startswith(name))
    return row.strip("│ ").split("│")[1].strip()


def test_check_counts(file):
    out = run("check", file)
    assert cell(out, "rows") == "3, 0 of them bad"
    assert cell(out, "examples") == "3 Conversation"
    assert cell(out, "agent turns with alternatives") == "6"
    assert cell(out, "exact duplicates") == "2"
    assert "3 examples are well formed" in out


def test_check_lists_bad_rows_and_fails_unless_told_to_skip(file):
    with file.open("a") as f:
        f.write('{"messages": []}\n{"messages": [{"role": "human", "content": "Hi"}]}\n')
    out = run("check", file, code=2)
    assert "2 bad rows" in out
    joined = "".join(out.split())
    assert "talks.jsonl:4:messages:thislistofmessagesisempty" in joined
    assert "talks.jsonl:5:messages[0].role:nosuchrole:'human'(didyoumean'user'?)" in joined
    out = run("check", file, "--skip-bad")
    assert cell(out, "rows") == "5, 2 of them bad"
    assert "2 bad rows" in out


def test_check_with_a_model_counts_tokens(file, model):
    out = run("check", file, "--model", model)
    assert cell(out, "items") == "9 pairs"
    assert cell(out, "paths") == "18"
    flat, distinct = (int(cell(out, n).replace(",", "")) for n in ("tokens, every path", "distinct tokens"))
    assert float(cell(out, "sharing factor")) == round(flat / distinct, 2) > 1.5


def test_check_says_what_does_not_fit(file, model):
    out = run("check", file, "--model", model, "--max-length", 30)
    assert "are left out of training" in out
    with pytest.raises(HalignError, match="--max-length has no effect without --model"):
        run("check", file, "--max-length", 30)
    with pytest.raises(HalignError, match="no tokenizer there"):
        run("check", file, "--model", file.parent / "nothing")


def test_show_prints_turns_and_alternatives_and_no_markup(file):
    out = run("show", file, "-n", 1, "--start", 1)
    assert "1: Conversation c1" in out
    assert "§ Never promise a refund." in out
    assert "user: My mug broke." in out
    assert "✗ rank 3: You get your money back." in out
    assert "breaks: Never promise a refund." in out
    assert "✗ rank 2: [bold]Ok[/bold]" in out
    assert "1 of 3 examples" in out
    with pytest.raises(HalignError, match="has 3 examples, 0 to 2"):
        run("show", file, "--start", 3)


@pytest.mark.parametrize(
    ("to", "shown"),
    [
        ("pairs", ["✓ chosen: Thank you.", "✗ rejected: And?"]),
        ("rankings", ["✓ rank 1: Thank you.", "✗ rank 3: You get your money back."]),
        ("singles", ["✓ label good: Thank you.", "✗ label bad: And?"]),
    ],
)
def test_show_of_other_kinds(file, to, shown):
    run("convert", file, "--to", to, "--output", file.parent / "o.jsonl")
    out = run("show", file.parent / "o.jsonl", "-n", 20)
    assert all(s in out for s in shown)


def test_stats(file):
    out = run("stats", file, "--against", file)
    assert cell(out, "turns of a dialogue") == "4.0"
    assert cell(out, "alternatives") == "9 by rank"
    assert cell(out, "shared conversations") == "3"
    assert cell(out, "same text") == "3"
    row = next(line for line in out.splitlines() if "Never promise a refund." in line)
    assert [c.strip() for c in row.strip("│ ").split("│")][:3] == ["3", "–", "3"]  # in force, labels, broken
    assert cell(out, "the better response, in words").startswith("9 longer, 0 equal, 0 shorter")


def test_stats_of_labels_and_ranks(file):
    run("convert", file, "--to", "singles", "--output", file.parent / "s.jsonl")
    assert cell(run("stats", file.parent / "s.jsonl"), "labelled good").startswith("6 of 15 (40.0%)")
    run("convert", file, "--to", "rankings", "--output", file.parent / "r.jsonl")
    out = run("stats", file.parent / "r.jsonl")
    assert cell(out, "replies of a ranking") == "2: 3, 3: 3"
    assert cell(out, "the longest reply is a best one") == "100.0%"


@pytest.mark.parametrize(
    ("to", "settings", "kind", "count"),
    [
        ("pairs", [], Preference, 9),
        ("pairs", ["--how", "all"], Preference, 12),
        ("rankings", [], Ranking, 6),
        ("singles", [], Rating, 15),
        ("messages", [], Demonstration, 3),
    ],
)
def test_convert_writes_canonical_rows(file, to, settings, kind, count):
    output = file.parent / "out.jsonl.gz"
    out = run("convert", file, "--to", to, *settings, "--output", output)
    data = read(output)
    assert len(data) == count
    assert {type(e) for e in data} == {kind}
    assert {e.conversation for e in data} == {"c0", "c1", "c2"}
    assert cell(out, "written") == f"{count} {to}"


def test_convert_says_what_it_dropped_and_keeps_what_is_there(file):
    output = file.parent / "o.jsonl"
    assert cell(run("convert", file, "--to", "messages", "--output", output), "dropped: alternatives") == "9"
    with pytest.raises(HalignError, match="exists; replace it with --overwrite"):
        run("convert", file, "--to", "pairs", "--output", output)
    run("convert", file, "--to", "pairs", "--output", output, "--overwrite")
    assert len(read(output)) == 9
    for more, says in (
        (["--to", "singles", "--how", "all"], "--how has no effect"),
        (["--to", "pairs", "--threshold", "1"], "--threshold has no effect"),
        (["--to", "lists"], "no such form; pairs, rankings, singles or messages"),
    ):
        with pytest.raises(HalignError, match=says):
            run("convert", file, *more, "--output", file.parent / "p.jsonl")
    with pytest.raises(HalignError, match=r"has to end in .jsonl"):
        run("convert", file, "--to", "pairs", "--output", file.parent / "p.json")
    assert not (file.parent / "p.jsonl").exists()


@pytest.mark.parametrize("command", ["check", "show", "stats", "convert"])
def test_help_says_what_each_option_does(command):
    out = run(command, "--help")
    assert "--skip-bad" in out
    assert "--guardrails" in out


def test_the_format_is_said_and_columns_may_be_named(tmp_path):
    talk = tmp_path / "t.jsonl"
    said = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "caf\u00c3\u00a9"}]
    talk.write_text(json.dumps({"conversations": said}) + "\n")
    out = run("check", talk)
    assert cell(out, "form") == "sharegpt"
    assert cell(out, "because").startswith("ShareGPT: 'conversations' is a list of")
    assert "read as cp1252" in " ".join(out.split())
    assert "read as sharegpt, because ShareGPT" in run("show", talk)
    table = tmp_path / "t.csv"
    table.write_bytes("frage;antwort\nWer?;Jörg\n".encode("cp1252"))
    out = run("show", table, "--columns", "user=frage,assistant=antwort", "--encoding", "cp1252")
    assert "assistant: Jörg" in out
    assert "semicolons" in out
