"""The recipe of Parrot: whose models make what, with a user's own model and file, behind an endpoint, and after an interruption.

From nothing to a report, in the world, is tested with all tables (``test_table``).
"""

from __future__ import annotations

import json

import pytest

from halign.builders import parrot_ask
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Demonstration
from halign.models import RENDERING, Policy, fingerprint, load
from halign.readers import read, write_jsonl
from halign.recipes import built
from halign.recipes.arms import all_arms
from halign.recipes.origins import chosen
from halign.recipes.run import execute, resolve
from halign.recipes.steps import model_folder, read_rows
from halign.recipes.table import build
from halign.recipes.tune import needed, rounds
from halign.render import Renderer
from tests.conftest import make_llama, make_tokenizer
from tests.llm.server import Server


def assess(prompt, reply):
    """A user's own judge."""
    from types import SimpleNamespace

    return SimpleNamespace(
        adherence={"short": len(reply) < 60}, inactive={}, natural=True, hallucination=not reply
    )


ENDING = {"temperature": 5.0, "max_new_tokens": 200}
"""With which a model of random weights ends what it says."""


def graph(**overrides):
    return build(resolve("parrot", "demo", overrides))


def test_who_talks_with_whom_and_who_learns_what():
    made = graph()
    talks, context, control = (made.samples[n] for n in ("talks", "context", "random"))
    assert talks.inputs["model"] is made.models["Assistant"]
    assert talks.inputs["model asker"] is made.models["Ask"]
    assert talks.inputs["data"] is made.data
    assert talks.settings["skip"] == 100  # Ask and Assistant have read the first
    for samples in (context, control):
        assert samples.inputs["data"] is talks
        assert samples.inputs["model"] is made.models["Chat"]
    assert context.settings["settings"]["strategies"] == ["neglect", "misunderstanding"]
    assert control.settings["settings"]["strategies"] == ["random"]
    assert made.models["Ask"].settings["settings"]["roles"] == ["user"]
    assert made.models["Chat"].inputs == {"model": made.models["base"], "data": talks}
    for name, samples in (("Parrot", context), ("Parrot (random)", control)):
        assert made.models[name].inputs == {"model": made.models["Chat"], "data": samples}
        assert made.models[name].settings["objective"] == "dpo"
    assert list(made.answers) == [
        "base",
        "Assistant",
        "Chat",
        "Parrot",
        "Parrot (random)",
    ]  # Ask answers nobody
    settings = resolve("parrot", "demo", {})
    assert needed(settings, all_arms(settings))["Parrot"] == {"base", "Ask", "Assistant", "Chat"}
    assert rounds(settings) == [["Assistant"], ["Chat"], ["Parrot", "Parrot (random)"]]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"samples": {"talks": {"exchange": 3}}}, "samples.talks: .*'exchange'.*'exchanges'"),
        ({"samples": {"talks": {"builder": "parrot_sak"}}}, "no builder 'parrot_sak'"),
        ({"samples": {"talks": {"from": "Ask"}}}, "samples.talks.from: 'Ask' is not an earlier model"),
        ({"samples": {"talks": {"models": {"asker": "Parrot"}}}}, r"talks.models.asker: 'Parrot' is not an earl"),
        ({"samples": {"talks": {"of": "context"}}}, "talks of context of talks: made of themselves"),
        ({"samples": {"context": {"of": "talk"}}}, "samples.context.of: 'talk' is none of"),
        ({"samples": {"talks": {"endpoint": {"url": "u"}}}}, "from: and endpoint: both write"),
        ({"samples": {"talks": {"builder": None, "from": None}}}, "samples.talks: from: is needed"),
        ({"arms": {"more": {"from": "Ask", "objective": "sft"}}}, "'Ask' is not an earlier model"),
    ],
)  # fmt: skip
def test_mistakes_are_told(overrides, message):
    with pytest.raises(HalignError, match=message):
        graph(**overrides)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's model and file."""
    monkeypatch.setenv("HALIGN_CACHE", str(tmp_path / "cache"))
    tokenizer = make_tokenizer()
    Policy(make_llama(tokenizer), tokenizer, "memory").save(tmp_path / "model")
    said = ("At first: my order {n}?", "Your parcel leaves tomorrow.", "When?", "Tomorrow morning {n}.")
    talks = [
        Demonstration(
            Dialogue(
                tuple(
                    Message("assistant" if i % 2 else "user", words.format(n=n))
                    for i, words in enumerate(said)
                )
            ),
            f"c{n}",
        )
        for n in range(16)
    ]
    write_jsonl(talks, tmp_path / "data.jsonl")
    return tmp_path


def settings_of_ones_own(folder, **more):
    data = {"model": str(folder / "model"), "data": str(folder / "data.jsonl"), "world": None}
    small = {
        "conversations": 10,
        "validation_conversations": 3,
        "judge": f"{__name__}:assess",
        "kl_prompts": 2,
    }
    return resolve("parrot", "tiny", {**data, **small, "sampling": {"max_new_tokens": 20}, **more})


def test_own_model_and_data_with_an_endpoint_as_the_assistant(own):
    """Ask, trained here, talks with the endpoint's model, which also says what depends on the context, and writes negatives."""

    def script(body, before):
        *earlier, last = body["messages"]
        alone = not any(m["role"] == "assistant" for m in earlier)
        if last["content"].endswith(")"):  # told to make up what it does not know
            return f"invented {len(last['content'])}"
        return (
            f"neglected {len(last['content'])}"
            if alone and "first" not in last["content"]
            else "I assist you."
        )

    with Server(script) as server:
        there = {"from": None, "endpoint": {"url": server.url, "model": "m"}}
        context = {**there, "instructed": True, "strategies": ["neglect", "hallucination"], "each": "all"}
        settings = settings_of_ones_own(
            own, samples={"talks": {**there, **ENDING}, "context": context}, arms={"Parrot (random)": None}
        )
        done = execute("parrot", settings, own / "out", workers=0)
    folders = done.outcome.folders
    rows = read_rows(folders["samples-talks"] / "train.jsonl")
    assert rows
    starts = {e.conversation for e in chosen(folders["data"], ["train"], 4)}
    assert {r["conversation"] for r in rows} <= starts
    for row in rows:
        assert {row["messages"][i]["content"] for i in row["turns"]} == {"I assist you."}
        assert row["lineage"]["replies"]
    header = json.loads((folders["samples-talks"] / "train.jsonl.lineage.json").read_text())
    (step,) = header["steps"].values()
    assert step["settings"]["writer"]["model"] == "m"
    pairs = folders["samples-context"] / "train.jsonl"
    strategies = [row["strategy"] for row in read_rows(pairs)]
    found = [(s, p.rejected.content.split()[0]) for s, p in zip(strategies, read(pairs), strict=True)]
    assert set(found) == {("neglect", "neglected"), ("hallucination", "invented")}
    assert {p.chosen.content for p in read(pairs)} == {"I assist you."}
    page = done.report.read_text()
    assert "Samples: talks" in page
    assert "examples by parrot_ask" in page
    assert (own / "out" / "runs" / "Ask" / "model" / "config.json").exists()
    assert "Ask" not in json.loads((own / "out" / "results.json").read_text())["models"]


def test_an_interrupted_build_goes_on(own, monkeypatch):
    settings = settings_of_ones_own(own)
    stage = build(settings).samples["talks"]
    assert stage.resumable
    data = own / "data"
    data.mkdir()
    for part, some in (("train", slice(0, 10)), ("validation", slice(10, 13))):
        write_jsonl(list(read(own / "data.jsonl"))[some], data / f"{part}.jsonl")
    asker = load(own / "model")
    asker.save(own / "asker" / "model")
    users = Renderer(asker.tokenizer, roles=("user",)).settings
    (own / "asker" / "model" / RENDERING).write_text(json.dumps(users))
    plain = own / "plain"
    plain.mkdir()
    (plain / "source").write_text(str(own / "model"))
    inputs = {"data": data, "model": plain, "model asker": own / "asker"}
    told = []
    more = {"chunk": 2, **ENDING}
    given = {**stage.settings, "settings": {**stage.settings["settings"], **more}}

    def call(output):
        output.mkdir(exist_ok=True)
        built.build(output, inputs=inputs, progress=lambda *a: told.append(a), threads=1, **given)
        return {p: (output / f"{p}.jsonl").read_text() for p in ("train", "validation")}

    whole = call(own / "whole")
    assert told[:1] == [(0, 6, "train: parrot_ask")]  # ten, without the first four
    assert told[-1] == (1, 2, "validation: parrot_ask")
    original, calls = parrot_ask.BUILDER.build, []

    def dies(rows, settings, tools):
        calls.append(tools.chunk)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(rows, settings, tools)

    monkeypatch.setattr(built, "find", lambda name: _with(parrot_ask.BUILDER, dies))
    with pytest.raises(KeyboardInterrupt):
        call(own / "again")
    again = call(own / "again")
    assert calls == [0, 1, 2, 2, 0]  # two whole chunks were not built again
    assert call(own / "again") == again
    assert len(calls) == 5

    def bare(text):
        return [{k: v for k, v in json.loads(line).items() if k != "lineage"} for line in text.splitlines()]

    assert {k: bare(v) for k, v in again.items()} == {k: bare(v) for k, v in whole.items()}
    (step,) = json.loads((own / "again" / "train.jsonl.lineage.json").read_text())["steps"].values()
    assert step["settings"]["writer"]["fingerprint"] == fingerprint(load(model_folder(plain)).model)


def _with(builder, function):
    from dataclasses import replace

    return replace(builder, build=function)
