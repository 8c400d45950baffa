"""Run tasks of lm-evaluation-harness on a Halign policy."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from halign.errors import HalignError
from halign.harness.tasks import TASKS, local_task
from halign.models import Policy

RESULTS, SAMPLES = "results.json", "samples_{}.jsonl"


def harness(
    policy: Policy,
    tasks: Sequence[str],
    *,
    num_fewshot: int | None = None,
    limit: int | None = None,
    include_path: str | Path | None = None,
    data: str | Path | None = None,
    output: str | Path | None = None,
    chat_template: bool = False,
    max_tokens: int = 4096,
    dtype: str = "fp32",
    seed: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Measures of a policy on tasks, as lm_eval computes them, its requests answered by the scoring engine.

    Args:
        tasks: names: lm_eval's own, those of YAML files under ``include_path``, or ``halign.harness.tasks.TASKS``.
        num_fewshot: examples before each question; None: what each task says.
        limit: only the first questions of each task.
        data: folder of the files that local tasks read; None: $HALIGN_DATA.
        output: a folder to write ``results.json`` and a ``samples_TASK.jsonl`` a task into: every question with the requests made
            for it and their answers.
        chat_template: put questions into the model's chat template.
        max_tokens: distinct tokens in one forward pass.
        seed: for tasks that ask for sampling.
        options: of ``lm_eval.simple_evaluate``.

    Returns:
        lm_eval's results: ``results[task][measure,filter]``, standard errors beside them, configurations, versions.

    Raises:
        HalignError: lm_eval is not installed, or there is no such task.
    """
    require_lm_eval()
    from lm_eval import simple_evaluate

    from halign.harness.lm import HalignLM

    manager = _manager(tasks, include_path)
    found = simple_evaluate(
        model=HalignLM(policy, max_tokens=max_tokens, dtype=dtype, seed=seed),
        tasks=[_task(name, data, manager.all_tasks) for name in tasks],
        num_fewshot=num_fewshot,
        limit=limit,
        task_manager=manager,
        apply_chat_template=chat_template,
        log_samples=output is not None,
        **options,
    )
    assert found is not None, "only the first of several processes has results"
    results: dict[str, Any] = dict(found)
    if output is not None:
        _write(Path(output), results, policy)
    return results


def require_lm_eval() -> None:
    """
    Raises:
        HalignError: lm_eval is not installed.
    """
    if find_spec("lm_eval") is None:
        raise HalignError('lm-evaluation-harness is not installed: pip install "halign[eval]"')


def _manager(tasks: Sequence[str], include_path: str | Path | None) -> Any:
    """Knows the tasks that are asked for. lm_eval's own, some ten thousand files, are looked through only if one is wanted."""
    from lm_eval.tasks import TaskManager

    path = None if include_path is None else str(include_path)
    own = TaskManager(include_path=path, include_defaults=False)
    return own if set(tasks) <= {*TASKS, *own.all_tasks} else TaskManager(include_path=path)


def _task(name: str, data: str | Path | None, known: Sequence[str]) -> Any:
    """What lm_eval takes for a task: its name, or a configuration."""
    if name in TASKS:
        folder = data or os.environ.get("HALIGN_DATA")
        if folder is None:
            raise HalignError(f"{name} reads files: name their folder (--data, or $HALIGN_DATA)")
        return local_task(name, folder)
    if name not in known:
        raise HalignError(
            f"there is no task {name!r}: lm_eval has {len(known)} (`lm-eval ls tasks`); from files there are {', '.join(TASKS)}; "
            "YAML files of your own are looked for under --include-path"
        )
    return name


def _write(folder: Path, results: dict[str, Any], policy: Policy) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    samples = results.pop("samples", {})
    facts = {"model": policy.path, "lm_eval": version("lm_eval"), **results}
    (folder / RESULTS).write_text(json.dumps(facts, indent=1, default=str, ensure_ascii=False) + "\n")
    for name, rows in samples.items():
        lines = (json.dumps(row, default=str, ensure_ascii=False) + "\n" for row in rows)
        (folder / SAMPLES.format(name)).write_text("".join(lines))


def table(results: dict[str, Any]) -> list[tuple[str, str, float, float | None]]:
    """Rows of (task, measure, value, standard error or None) in the order of the tasks."""
    rows = []
    for task, measures in results["results"].items():
        for key, value in measures.items():
            name, _, filtered = key.partition(",")
            if not filtered or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = measures.get(f"{name}_stderr,{filtered}")
            shown = name if filtered == "none" else f"{name} ({filtered})"
            rows.append((task, shown, float(value), error if isinstance(error, float) else None))
    return rows
