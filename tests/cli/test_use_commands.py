"""``halign sample``, ``chat``, ``compare``: models put to use from the command line."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from halign.cli.main import app


def run(*words, **more):
    result = CliRunner().invoke(app, [str(w) for w in words], **more)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def test_sample_writes_replies_to_every_prompt(policy_folder, tmp_path):
    rows = [
        {"prompt": [{"role": "user", "content": f"Hello {i}"}], "guardrails": ["Be kind."]} for i in range(3)
    ]
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    out = tmp_path / "replies.jsonl"
    options = ("--max-new-tokens", 5, "--n", 2, "--seed", 4, "--limit", 2)
    said = run("sample", "--model", policy_folder, "--prompts", file, "--output", out, *options)
    assert "2 prompts answered" in said
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert [w["prompt"][0]["content"] for w in written] == ["Hello 0", "Hello 1"]
    assert all(len(w["responses"]) == 2 for w in written)
    assert written[0]["guardrails"] == ["Be kind."]


def test_sample_cuts_at_stop_strings_and_knows_its_engines(policy_folder, tmp_path):
    file, out = tmp_path / "prompts.jsonl", tmp_path / "replies.jsonl"
    file.write_text(json.dumps({"prompt": [{"role": "user", "content": "Hello"}]}) + "\n")
    words = ["sample", "--model", policy_folder, "--prompts", file, "--output", out, "--max-new-tokens", 30]

    def reply(*options):
        run(*words, *options)
        return json.loads(out.read_text())["responses"][0]

    whole = reply()["content"]
    stop = whole[8:10]
    assert reply("--stop", "never there", "--stop", stop) == {
        "content": whole[: whole.index(stop)].strip(),
        "finished": True,
    }
    wrong = CliRunner().invoke(app, [str(w) for w in (*words, "--engine", "other")])
    assert "--engine other is not one of transformers, vllm" in str(wrong.exception)
    wrong = CliRunner().invoke(
        app, [str(w) for w in (*words, "--engine", "vllm", "--endpoint", "http://x/v1")]
    )
    assert "--engine would have no effect with --endpoint" in str(wrong.exception)


def test_compare_a_model_with_itself_finds_no_advantage(policy_folder, tmp_path):
    config = json.loads(
        (policy_folder / "config.json").read_text()
    )  # the world's prompts are long for a tokenizer of bytes
    (policy_folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096}))
    page = tmp_path / "page.html"
    options = ("--limit", 6, "--max-new-tokens", 4, "--report", page)
    said = run("compare", policy_folder, policy_folder, *options)
    for dimension in ("adherence", "naturalness", "hallucination"):
        assert dimension in said
    assert "+0.000" in said
    assert "against" in page.read_text()


def test_chat_answers_until_an_empty_line(policy_folder):
    said = run(
        "chat", "--model", policy_folder, "--max-new-tokens", 4, "--guardrail", "Be kind.", input="Hello\n\n"
    )
    assert said.count("bot:") == 1


def test_a_prefix_is_the_models_own_unless_another_is_given(policy, tmp_path):
    from halign.likelihood import make_renderer
    from halign.models import RENDERING, load

    folder = tmp_path / "policy"
    policy.save(folder)
    (folder / RENDERING).write_text(json.dumps({"response_prefix": "A good answer:\n"}))
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps({"prompt": [{"role": "user", "content": "Hello"}]}) + "\n")

    def replies(*options):
        out = tmp_path / "replies.jsonl"
        base = (
            "--model",
            folder,
            "--prompts",
            file,
            "--output",
            out,
            "--max-new-tokens",
            8,
            "--temperature",
            0,
        )
        run("sample", *base, *options)
        return json.loads(out.read_text())["responses"][0]["content"]

    assert replies() == replies("--prefix", "A good answer:\n")
    assert len({replies(), replies("--prefix", ""), replies("--prefix", "No: ")}) == 3
    assert make_renderer(load(folder)).response_prefix == "A good answer:\n"
    assert make_renderer(load(folder), "").response_prefix == ""
    options = ("--max-new-tokens", 4, "--prefix", "Well: ")
    assert run("chat", "--model", folder, *options, input="Hello\n\n").count("bot:") == 1
