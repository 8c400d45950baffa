"""The driver: what is written, in chunks, after a kill, with models here and behind an endpoint."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from halign import lineage
from halign.builders import Tools, build, registry
from halign.builders.driver import dry_run, report_path
from halign.builders.writers import DryWriter, DryYesNo, EndpointWriter, LocalWriter
from halign.cli.data_commands import app
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.judges.yes_no import EndpointYesNo, LocalYesNo
from halign.likelihood import logps
from halign.llm import Client, Endpoint, ItemsFailed, Planned
from halign.models import Policy, fingerprint
from halign.readers import read, write_rows
from halign.sampling import TransformersSampler
from tests.builders import toys
from tests.conftest import make_llama, make_tokenizer
from tests.curation.plainly import rows_of, talk
from tests.llm.server import Fault, Server, completion, last


@pytest.fixture
def file(tmp_path):
    rows = [talk(f"Question {i}", f"c{i}", "word " * (i + 1) + "end") for i in range(7)]
    write_rows(rows, tmp_path / "in.jsonl")
    return tmp_path / "in.jsonl"


def made(file, name, builder=toys.RULES, tools=None, overwrite=False, **settings):
    out = file.parent / name
    report = build(
        builder,
        RowSource(file),
        out,
        registry.resolve(builder, settings),
        tools or Tools(),
        overwrite=overwrite,
    )
    return out, report


def test_rows_counts_and_lineage(file):
    out, report = made(file, "out.jsonl", least=4, chunk=2)
    rows = rows_of(out)
    assert [r["conversation"] for r in rows] == ["c2", "c3", "c4", "c5", "c6"]
    assert (report.read, report.built, report.dropped, report.notes) == (7, 5, {"too short": 2}, ["35 words"])
    assert [r["before"] for r in rows] == [0, 0, 2, 2, 4]  # what the chunks before theirs had built
    said = json.loads(report_path(out).read_text())
    assert said["dropped"] == {"too short": 2}
    assert said["settings"]["least"] == 4
    links = lineage.trace(out, 1)
    assert [(link.number, link.state) for link in links] == [(1, "asked for"), (3, "as it was")]
    assert links[1].step.builder == "rules"
    assert len(list(read(out))) == 5
    assert not list(out.parent.glob(".out*"))


def test_what_describes_the_output_stands_before_it_does(file, monkeypatch):
    """A job that is killed at the end leaves no output without its lineage, and can be run again."""

    def dies(rows, path):
        assert lineage.read_header(path)
        assert json.loads(report_path(path).read_text())["built"] == 7
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("halign.builders.driver.write_rows", dies)
        with pytest.raises(KeyboardInterrupt):
            made(file, "out.jsonl")
    assert not (file.parent / "out.jsonl").exists()
    assert len(rows_of(made(file, "out.jsonl")[0])) == 7


def test_a_row_keeps_the_weight_of_what_it_is_made_of(tmp_path):
    rows = [talk(f"Question {i}", f"c{i}", weight=w) for i, w in enumerate((1.0, 0.25))]
    write_rows(rows, tmp_path / "in.jsonl")
    out, _ = made(tmp_path / "in.jsonl", "out.jsonl")
    assert [e.weight for e in read(out)] == [1.0, 0.25]


def test_draws_do_not_depend_on_chunks(file):
    by_name = [
        {r["conversation"]: r["drawn"] for r in rows_of(made(file, f"{c}.jsonl", chunk=c)[0])}
        for c in (1, 3, 64)
    ]
    assert by_name[0] == by_name[1] == by_name[2]
    assert len(set(by_name[0].values())) > 4
    other = {r["conversation"]: r["drawn"] for r in rows_of(made(file, "s.jsonl", seed=1)[0])}
    assert other != by_name[0]


def test_a_killed_job_ends_in_the_same_bytes(file):
    whole, _ = made(file, "whole.jsonl.gz", chunk=2)
    out = file.parent / "killed.jsonl.gz"
    command = [
        sys.executable,
        "-c",
        "from halign.cli.data_commands import app; app()",
        "build",
        "tests.builders.toys:RULES",
        str(file),
        str(out),
        "chunk=2",
    ]
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root / "src"), str(root)])
    environment = {**os.environ, "PYTHONPATH": path}
    first = subprocess.run(
        command, env={**environment, "TOY_DIES_AT": "2"}, cwd=root, check=False, capture_output=True
    )
    assert first.returncode == 9, first.stderr
    assert not out.exists()
    (folder,) = out.parent.glob(".killed*")
    with (folder / "rows.jsonl").open("a") as rows:  # as a process that dies while it appends leaves it
        rows.write('{"half a ro')
    with pytest.raises(HalignError, match="other settings"):
        made(file, out.name, chunk=3)
    made(file, out.name, chunk=2)
    assert out.read_bytes() == whole.read_bytes()
    reports = [report_path(p).read_text() for p in (out, whole)]
    assert reports[0] == reports[1]
    assert gzip.decompress(out.read_bytes()).count(b"\n") == 7


def test_what_is_refused(file):
    for problem, call in {
        "exists": lambda: (made(file, "a.jsonl"), made(file, "a.jsonl")),
        "needs a writer": lambda: made(file, "b.jsonl", toys.WRITTEN),
        "nothing was built of 7 rows: 7 too short": lambda: made(file, "c.jsonl", least=99),
        "did you mean 'least'": lambda: made(file, "d.jsonl", leest=1),
        "greater than or equal to 1": lambda: made(file, "e.jsonl", chunk=0),
    }.items():
        with pytest.raises(HalignError, match=problem):
            call()
    assert not list(file.parent.glob("*c.jsonl*"))
    with pytest.raises(HalignError, match="no builder"):
        registry.find("nothing")


def test_files_in_settings_count_by_their_bytes(file):
    policy = file.parent / "policy.md"
    policy.write_text("one")
    out, _ = made(file, "p.jsonl", policy=policy)
    before = lineage.of(rows_of(out)[0])["step"]
    policy.write_text("two")
    out, _ = made(file, "p.jsonl", policy=policy, overwrite=True)
    assert lineage.of(rows_of(out)[0])["step"] != before


def endpoint_tools(server, **settings):
    client = Client(Endpoint(server.url, "m", retries=0, input_price=1, output_price=1), **settings)
    return Tools(EndpointWriter(client), EndpointYesNo(client)), client


def answer(body, before):
    if "1 for yes" in last(body):
        top = {"1": math.log(0.6), "2": math.log(0.2)}
        return completion("1", top=[top] if body.get("logprobs") else None)
    return f"reply {body['seed'] % 1000}"


def test_an_endpoint_is_paid_once_and_estimated_before(file):
    with Server(answer) as server:
        tools, client = endpoint_tools(server)
        plans = Planned(), Planned()
        dry = Tools(DryWriter(tools.writer, plans[0]), DryYesNo(tools.judge, plans[1]))
        settings = registry.resolve(toys.WRITTEN, {"chunk": 2})
        assert dry_run(toys.WRITTEN, RowSource(file), settings, dry) == 7
        assert not server.asked
        assert [p.estimates[0].calls for p in plans] == [14, 7]
        out, _ = made(file, "one.jsonl", toys.WRITTEN, tools, chunk=2)
        assert sum(server.asked.values()) == 21
        assert client.spent.calls == 21
        rows = rows_of(out)
        assert [r["yes"] for r in rows] == [0.75] * 7
        assert len(lineage.of(rows[0])["replies"]) == 3
        again, _ = made(file, "two.jsonl", toys.WRITTEN, endpoint_tools(server)[0], chunk=2)
        assert again.read_bytes() == out.read_bytes()
        assert sum(server.asked.values()) == 21


def test_a_prompt_that_fails_stops_the_job_or_is_counted(file):
    with Server(lambda b, n: Fault(400, body="no") if last(b) == "Question 3" else answer(b, n)) as server:
        with pytest.raises(ItemsFailed, match="1 of 1 prompts"):
            made(file, "a.jsonl", toys.WRITTEN, endpoint_tools(server)[0], chunk=1)
        asked = sum(server.asked.values())
        out, report = made(
            file, "b.jsonl", toys.WRITTEN, endpoint_tools(server)[0], chunk=1, skip_failed=True
        )
    assert report.dropped == {"no reply": 1}
    assert len(rows_of(out)) == 6
    assert (
        sum(server.asked.values()) == asked + 2 + 1 + 9
    )  # the failed ones again, then only what was not asked


def test_objects_come_from_an_endpoint_or_from_here(file):
    with Server(
        lambda body, before: '{"word": "yes"}' if before or len(body["messages"]) > 1 else "no"
    ) as server:
        out, _ = made(file, "a.jsonl", toys.OBJECTS, endpoint_tools(server)[0])
    row = rows_of(out)[0]
    assert row["messages"][0]["content"] == "yes"
    assert [p["row"] for p in lineage.of(row)["parents"]] == list(range(1, 8))

    class Says:
        """Answers wrongly first."""

        def __init__(self):
            self.asked = []

        def sample(self, prompts, **settings):
            from halign.sampling import Sample

            self.asked += prompts
            return [[Sample('{"word": "here"}' if len(p.messages) > 1 else '{"wort": 1}')] for p in prompts]

    sampler = Says()
    out, _ = made(file, "b.jsonl", toys.OBJECTS, Tools(LocalWriter(sampler, "f")))
    assert rows_of(out)[0]["messages"][0]["content"] == "here"
    assert "JSON schema" in sampler.asked[0].messages[0].content
    assert "does not fit" in sampler.asked[1].messages[2].content


@pytest.fixture(scope="module")
def policy():
    tokenizer = make_tokenizer()
    return Policy(make_llama(tokenizer).eval(), tokenizer)


def test_a_model_in_this_process(file, policy):
    def tools():
        return Tools(
            LocalWriter(TransformersSampler(policy), fingerprint(policy.model)),
            LocalYesNo(policy, least_mass=0),
        )

    one, _ = made(file, "one.jsonl", toys.WRITTEN, tools(), chunk=3)
    two, _ = made(file, "two.jsonl", toys.WRITTEN, tools(), chunk=3)
    assert one.read_bytes() == two.read_bytes()
    keys = [k for r in rows_of(one) for k in lineage.of(r)["replies"]]
    assert len(set(keys)) == 14
    words = "Is Question 0 good?\n\nAnswer with one number and nothing else: 1 for yes, 2 for no."
    ask = [{"role": "user", "content": words}]
    yes, no = (float(logps(policy, [(ask, a)])) for a in "12")
    assert rows_of(one)[0]["yes"] == pytest.approx(1 / (1 + math.exp(no - yes)), abs=1e-5)
    with pytest.raises(HalignError, match="does not answer"):
        LocalYesNo(policy, least_mass=0.9).ask(["Is it?"])


def run(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "120", "TERM": "dumb"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_command(file):
    out = file.parent / "out.jsonl"
    assert "7" in run("build", "tests.builders.toys:RULES", file, out, "least=1")
    assert "words that a reply must have" in run("build", "tests.builders.toys:RULES")
    assert "builder" in run("build", "--list")
    with Server(answer) as server:
        at = ("--endpoint", server.url, "--llm", "m", "--input-price", 1, "--output-price", 1)
        said = run("build", "tests.builders.toys:WRITTEN", file, file.parent / "w.jsonl", *at, "--dry-run")
        assert "writer: 14 calls" in said
        assert "judge: 7 calls" in said
        said = run("build", "tests.builders.toys:WRITTEN", file, file.parent / "w.jsonl", *at)
    assert "21 calls" in said
    for words, problem in {
        ("--model", "x", "--endpoint", "http://x"): "both write",
        ("--endpoint", "http://x"): "go together",
        ("--budget", "1"): "no effect",
        ("--model", "x"): "by rules alone",
    }.items():
        with pytest.raises(HalignError, match=problem):
            run("build", "tests.builders.toys:RULES", file, file.parent / "z.jsonl", *words)
