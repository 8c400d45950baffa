"""Whole tasks through lm_eval: ours and its own model class give the same measures; what is written; the command."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from halign.cli.main import app
from halign.errors import HalignError
from halign.harness import run
from halign.harness.choices import multiple_choice
from halign.harness.run import harness, table
from tests.harness.models import POLICIES

TASK = """task: parcels
dataset_path: json
dataset_kwargs: {{data_files: {{train: {file}, test: {file}}}, cache_dir: {cache}}}
output_type: multiple_choice
training_split: train
fewshot_split: train
test_split: test
num_fewshot: 2
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list: [{{metric: acc}}, {{metric: acc_norm}}, {{metric: acc_bytes}}]
"""
ROWS = [
    {
        "question": f"Where is order {n}?",
        "choices": ["refund", "your parcel leaves tomorrow", "été"],
        "gold": n % 3,
    }
    for n in range(12)
]


def folder_of_tasks(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "parcels.yaml").write_text(TASK.format(file=file, cache=tmp_path / "datasets"))
    return folder


def test_without_lm_eval_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    with pytest.raises(HalignError, match=r"halign\[eval\]"):
        harness(POLICIES["plain"](), ["hellaswag"])


def test_tasks_that_are_not_there_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HALIGN_DATA", raising=False)
    with pytest.raises(HalignError, match="no task 'parcel'"):
        run._task("parcel", None, ["parcels"])
    with pytest.raises(HalignError, match="HALIGN_DATA"):
        run._task("local_gsm8k", None, [])
    with pytest.raises(HalignError, match=r"gsm8k_test.jsonl.gz.*does not hold"):
        run._task("local_gsm8k", tmp_path, [])
    assert run._task("parcels", None, ["parcels"]) == "parcels"


def test_measures_of_a_task_are_those_of_hf(tmp_path: Path) -> None:
    lm_eval = pytest.importorskip("lm_eval", reason="needs lm_eval (pip install 'halign[eval]')")
    from lm_eval.models.huggingface import HFLM

    policy = POLICIES["plain"]()
    tasks = folder_of_tasks(tmp_path)
    found = harness(policy, ["parcels"], include_path=tasks, output=tmp_path / "out", limit=9)
    other: Any = lm_eval.simple_evaluate(
        model=HFLM(pretrained=policy.model, tokenizer=policy.tokenizer, batch_size=4),
        tasks=["parcels"],
        limit=9,
        task_manager=lm_eval.tasks.TaskManager(include_path=str(tasks), include_defaults=False),
    )
    mine, theirs = found["results"]["parcels"], other["results"]["parcels"]
    assert mine == theirs
    assert {"acc,none", "acc_norm,none", "acc_bytes,none"} <= set(mine)
    assert {name for _, name, _, _ in table(found)} == {"acc", "acc_norm", "acc_bytes"}
    lines = (tmp_path / "out/samples_parcels.jsonl").read_text().splitlines()
    assert len(lines) == 9
    written = json.loads((tmp_path / "out/results.json").read_text())
    assert written["results"]["parcels"]["acc,none"] == mine["acc,none"]
    contexts = [json.loads(line)["arguments"][0][0] for line in lines]
    assert all(c.count("Q:") == 3 for c in contexts)
    rows = [
        {"context": c, "choices": r["choices"], "correct": r["gold"]}
        for c, r in zip(contexts, ROWS, strict=False)
    ]
    own = multiple_choice(policy, rows)
    for measure in ("acc", "acc_norm", "acc_bytes"):
        assert own.accuracy(measure).value == pytest.approx(mine[f"{measure},none"])


TRUTHS = """Type,Category,Question,Best Answer,Best Incorrect Answer,Correct Answers,Incorrect Answers,Source
A,Fish,Do fish swim?,They do,No,Yes; They do,No; Never,x
A,Birds,Do birds fly?,Some do,All,Most do; Some do,All do; None,x
A,Bees,Do bees hum?,Some do,All,Some do,All do; None,x
"""


def test_local_tasks_and_the_command(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs lm_eval (pip install 'halign[eval]')")
    from halign.harness.truthfulqa import read, truthfulqa

    data = tmp_path / "data/eval"
    data.mkdir(parents=True)
    (data / "truthfulqa.csv.gz").write_bytes(gzip.compress(TRUTHS.encode()))
    solved = [{"question": f"{n}+1?", "answer": f"It is so.\n#### {n + 1}"} for n in range(8)]
    for name in ("gsm8k_test", "gsm8k_train_2000"):
        text = "".join(json.dumps(row) + "\n" for row in solved)
        (data / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    policy = POLICIES["plain"]()
    policy.model.config.max_position_embeddings = 512
    policy.save(tmp_path / "model")
    names = "local_truthfulqa_mc1,local_truthfulqa_mc2,local_gsm8k"
    words = ["harness", str(tmp_path / "model"), "--tasks", names, "--data", str(data.parent), "--limit", "3"]
    done = CliRunner().invoke(app, [*words, "--output", str(tmp_path / "out"), "--device", "cpu"])
    assert done.exit_code == 0, done.output + str(done.exception)
    results = json.loads((tmp_path / "out/results.json").read_text())["results"]
    own = truthfulqa(policy, read(data / "truthfulqa.csv.gz", period=False)).table()
    assert results["local_truthfulqa_mc1"]["acc,none"] == pytest.approx(own["mc1"].value)
    assert results["local_truthfulqa_mc2"]["acc,none"] == pytest.approx(own["mc2"].value, abs=1e-5)
    assert results["local_gsm8k"]["exact_match,strict-match"] == 0
