"""Every builder with a writer or a judge against a real server: transformers' own, with a tiny model of random weights.

What it writes is rubbish, mostly the digits 1 and 2, so that some answers can be read. Tested is what does not depend on sense:
nothing crashes, what is left out is counted with a reason, every built row names its replies and can be traced, and a job that
was interrupted asks for nothing twice.
"""

from __future__ import annotations

import json

import pytest

from halign import lineage
from halign.builders import Tools, build, find, names, resolve
from halign.builders.driver import report_path
from halign.builders.writers import EndpointWriter
from halign.curation.source import RowSource
from halign.errors import HalignError
from halign.judges.yes_no import EndpointYesNo
from halign.llm import Client, Endpoint
from halign.readers import write_rows
from tests.builders.helpers import agent, lines, user

POLICY = (
    "# Orders\n\n- Always ask for the order number.\n- Never promise a refund.\n- Be kind to the customer.\n"
)
TALKS = [
    {
        "id": f"c{i}",
        "guardrails": ["Always ask for the order number.", "Be kind to the customer."],
        "messages": [
            user(f"Where is order {i}?"),
            agent("May I have the order number, please?"),
            user("And when?"),
            agent(f"Thank you, it leaves on day {i}."),
        ],
    }
    for i in range(6)
]
PROMPTS = [{"id": f"p{i}", "prompt": [user(f"How much is {i} and 1?")]} for i in range(6)]
TASKS = [{"instruction": f"Write {word} about the sea.", "output": "Blue."} for word in "abcdefgh"]

CASES = {
    "capo": (TALKS, {"test": "none", "max_new_tokens": 12}),
    "critique": (TALKS, {"max_new_tokens": 12}),
    "grade": (TALKS, {"candidates": "given"}),
    "guardrails": (TALKS, {"write": "all"}),
    "interactive_translation": (
        TALKS,
        {"language": "German", "directions": "free", "turns": 2, "max_new_tokens": 12},
    ),
    "multilingual": (PROMPTS, {"language": "German", "max_new_tokens": 12}),
    "parrot_ask": (PROMPTS, {"exchanges": 2, "max_new_tokens": 12}),
    "policy_chats": (POLICY, {"count": 4, "max_new_tokens": 12}),
    "r_tuning": (TALKS, {"max_new_tokens": 12}),
    "rlaif": (PROMPTS, {"candidates": "written", "samples": 4, "max_new_tokens": 12}),
    "self_chat": (PROMPTS, {"max_new_tokens": 12}),
    "self_instruct": (TASKS, {"requests": 4, "seeds": 3, "own": 1, "max_new_tokens": 12, "instance_tokens": 12}),
}  # fmt: skip
"""Builder -> (rows of its source or a document, settings)."""
WRITES = {"capo", "critique", "interactive_translation", "multilingual", "parrot_ask", "r_tuning"}
"""These build of whatever is written, without a judge; others want texts of a form that this model does not write, or a judge."""
RUNS = [
    (name, judged)
    for name in CASES
    for judged in (False, True)
    if "judge" not in find(name).needs or judged
    if judged <= ("judge" in (*find(name).needs, *find(name).uses))
]
"""The server's model judges, too, where a builder has a use for that. It says the same whichever reply stands first, so it
decides between none, and where nothing can be built for that, this is said."""


def test_every_builder_that_asks_is_here():
    assert set(CASES) == {n for n in names() if find(n).needs or find(n).uses}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A model that writes a digit, 1 or 2, then more of them or its end, and rarely something else."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    from tests.conftest import make_llama, make_tokenizer
    from tests.llm.serving import serving

    tokenizer = make_tokenizer()
    folder = tmp_path_factory.mktemp("served") / "model"
    model = make_llama(tokenizer, max_position_embeddings=8192)
    model.generation_config.do_sample = True
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    digits = [[[tokenizer.convert_tokens_to_ids(t)], 8.0] for t in ("1", "2")]
    model.generation_config.sequence_bias = [*digits, [[tokenizer.eos_token_id], 10.0]]
    model.generation_config.min_new_tokens = 1
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with serving(folder) as url:
        yield Endpoint(url, str(folder), concurrency=2, cache_as="served")


@pytest.mark.long
@pytest.mark.parametrize(("name", "judged"), RUNS)
def test_a_builder_against_a_real_server(served, tmp_path, name, judged):
    rows, settings = CASES[name]
    file = tmp_path / ("policy.md" if isinstance(rows, str) else "in.jsonl")
    if isinstance(rows, str):
        file.write_text(rows)
    else:
        write_rows(rows, file)
    builder = find(name)
    resolved = resolve(builder, {"chunk": 2, "skip_failed": True, **settings})

    def made(out, watch=None):
        """(rows, report) or (None, why nothing was built), and the calls that were made."""
        client = Client(served)
        tools = Tools(EndpointWriter(client), EndpointYesNo(client) if judged else None)
        options = {} if watch is None else {"watch": watch}
        try:
            build(builder, RowSource(file), out, resolved, tools, **options)
        except HalignError as error:
            if f"{name}: nothing was built of " not in str(error):
                raise
            return None, str(error), client.spent.calls
        return lines(out), json.loads(report_path(out).read_text()), client.spent.calls

    def interrupted(rows, what):
        for number, row in enumerate(rows):
            if number == 2:
                raise KeyboardInterrupt
            yield row

    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        made(out, interrupted)
    found, report, _ = made(out)
    again, told, calls = made(tmp_path / "again.jsonl")
    assert calls == 0  # every reply was in the cache: of the first chunk and of those after the interruption
    assert found is not None or judged or name not in WRITES
    assert found is not None or name != "grade"  # one reply is graded by itself
    if found is None:
        assert report == told
        assert report.partition(" rows: ")[2]  # the reasons
        return
    assert again == found
    assert report["dropped"] == told["dropped"]
    assert report["read"] == (4 if name == "policy_chats" else len(rows))
    assert report["built"] == len(found) > 0
    assert all(len(why.split()) > 1 for why in report["dropped"])
    for number, row in enumerate(found, 1):
        keys = row["lineage"]["replies"]
        assert keys
        assert all(len(k) == 64 for k in keys)
        links = lineage.trace(out, number)
        assert {link.state for link in links} <= {"asked for", "as it was"}
