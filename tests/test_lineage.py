"""The chain back to what nobody built: what rows carry, what is said when sources change, and how files can be moved."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest

from halign import lineage
from halign.errors import HalignError
from halign.lineage import Step, derive, expand, header_path, join, read_header, trace, write_header
from halign.readers import read, write_jsonl, write_rows

ROWS = [{"id": f"c{i}", "prompt": f"Question {i}?", "completion": f"Answer {i}."} for i in range(4)]


def build(source, output, builder, pick, **settings):
    """Copies the rows that ``pick`` takes, as an operation does."""
    step = Step.of(builder, settings, source)
    rows = [(i, json.loads(line)) for i, line in enumerate(source.read_text().splitlines(), 1)]
    write_rows(({**r, "lineage": derive(step, i, r, ["k1"])} for i, r in rows if pick(i)), output)
    write_header(output, [step], [source])
    return step


@pytest.fixture
def chain(tmp_path):
    a, b, c = (tmp_path / f"{n}.jsonl" for n in "abc")
    write_rows(ROWS, a)
    build(a, b, "filter", lambda i: i > 1, above=4.5)
    build(b, c, "mix", lambda i: i != 2, seed=0)
    return a, b, c


def test_the_chain_goes_back_to_the_first_row(chain):
    a, b, c = chain
    links = trace(c, 2)
    assert [(link.depth, link.file, link.number, link.state) for link in links] == [
        (0, str(c), 2, "asked for"),
        (1, str(b), 3, "as it was"),
        (2, str(a), 4, "as it was"),
    ]
    assert [link.step.builder for link in links[1:]] == ["mix", "filter"]
    assert [dict(link.step.settings) for link in links[1:]] == [{"seed": 0}, {"above": 4.5}]
    assert links[2].row == ROWS[3]
    assert links[1].replies == ("k1",)
    assert not any(link.file_changed for link in links)


def test_in_full(chain):
    a, b, c = chain
    row = json.loads(c.read_text().splitlines()[1])
    full = expand(row["lineage"], read_header(c))
    assert full.keys() == {"builder", "version", "settings", "source", "replies", "parents"}
    assert full["source"] == {"file": str(b), "row": 3, "id": "c3", "sha256": row["lineage"]["sha256"]}
    (before,) = full["parents"]
    plain = json.dumps(ROWS[3], sort_keys=True).encode()
    assert before["source"] == {
        "file": str(a),
        "row": 4,
        "id": "c3",
        "sha256": hashlib.sha256(plain).hexdigest()[:16],
    }
    assert read_header(c)[row["lineage"]["step"]].sha256 == hashlib.sha256(b.read_bytes()).hexdigest()


def test_says_what_has_changed(chain):
    a, b, c = chain
    write_rows([*ROWS[:3], {**ROWS[3], "completion": "Another answer."}], a)
    last = trace(c, 2)[-1]
    assert (last.state, last.file_changed, last.row["completion"]) == ("changed", True, "Another answer.")
    other = trace(c, 1)[-1]
    assert (other.state, other.file_changed) == ("as it was", True)
    write_rows(ROWS[:1], a)
    assert trace(c, 2)[-1].state == "not there"
    b.unlink()
    assert [link.state for link in trace(c, 2)] == ["asked for", "no such file", "not there"]


def test_a_folder_can_be_moved(chain, tmp_path):
    shutil.copytree(tmp_path, tmp_path.parent / "moved")
    for path in chain:
        path.unlink()
    links = trace(tmp_path.parent / "moved" / "c.jsonl", 2)
    assert [link.state for link in links] == ["asked for", "as it was", "as it was"]
    assert links[2].file == str(tmp_path.parent / "moved" / "a.jsonl")


def test_a_row_made_of_several(tmp_path):
    a, out = tmp_path / "a.jsonl", tmp_path / "out.jsonl"
    write_rows(ROWS, a)
    step = Step.of("join", {}, a)
    row = {"text": "both", "lineage": join(step, [(1, ROWS[0]), (3, ROWS[2])], ["sample-7"])}
    write_rows([row], out)
    write_header(out, [step], [a])
    links = trace(out, 1)
    assert [(link.depth, link.number, link.state) for link in links[1:]] == [
        (1, 1, "as it was"),
        (1, 3, "as it was"),
    ]
    assert expand(row["lineage"], read_header(out))["replies"] == ["sample-7"]


def test_readers_keep_it_and_converted_rows_have_it(chain, tmp_path):
    c = chain[2]
    data = read(c)
    assert [e.dialogue.meta["lineage"]["row"] for e in data] == [1, 3]
    assert not any("lineage" in m.extra for e in data for m in e.dialogue.messages)
    write_jsonl(data, tmp_path / "d.jsonl")
    write_header(tmp_path / "d.jsonl", [], [c])
    assert [link.number for link in trace(tmp_path / "d.jsonl", 2)] == [2, 3, 4]


def test_it_costs_about_a_hundred_bytes_a_step(chain):
    _, _, c = chain
    row = json.loads(c.read_text().splitlines()[0])
    assert len(json.dumps(row["lineage"])) < 2 * 110


def test_errors_name_the_way_out(chain):
    a, _, c = chain
    with pytest.raises(HalignError, match=r"c.jsonl has no row 9; rows are counted from 1"):
        trace(c, 9)
    assert [link.state for link in trace(a, 1)] == ["asked for"]
    header_path(c).write_text("{}")
    with pytest.raises(
        HalignError, match=r"c.jsonl.lineage.json: not a lineage header .* build c.jsonl again"
    ):
        trace(c, 1)
    header_path(c).unlink()
    with pytest.raises(HalignError, match="does not describe; keep that file beside the data"):
        trace(c, 1)


def test_keys_depend_on_all_that_decides(tmp_path):
    step = Step("filter", {"above": 4}, "x/a.jsonl", "00")
    others = [
        Step("mix", {"above": 4}, "x/a.jsonl", "00"),
        Step("filter", {"above": 5}, "x/a.jsonl", "00"),
        Step("filter", {"above": 4}, "x/b.jsonl", "00"),
        Step("filter", {"above": 4}, "x/a.jsonl", "01"),
        Step("filter", {"above": 4}, "x/a.jsonl", "00", version="0"),
    ]
    assert len({step.key, *(o.key for o in others)}) == 6
    assert Step("filter", {"above": 4}, "y/a.jsonl", "00").key == step.key
    assert lineage.of({"text": "x"}) is None
