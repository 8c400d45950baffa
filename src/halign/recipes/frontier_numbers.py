"""frontier.json: every number of the frontier, from the stages' folders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from halign.recipes import frontier_results as results
from halign.recipes.engine import Outcome
from halign.recipes.frontier_steps import diverged, spent

if TYPE_CHECKING:
    from halign.recipes.frontier import Job
    from halign.recipes.stages import Stage


def numbers(job: Job, outcome: Outcome) -> dict[str, Any]:
    """Everything that was found, JSON-ready. Rewards are in the reward's own units, KL in nats per reply."""
    folder, s = job.store.folder, job.settings
    measured = job.measured
    prompts = results.read_pool(
        {h: folder(stage) for h, stage in measured["pool"].items()},
        {h: folder(stage) for h, stage in measured["pool learned"].items()},
    )
    curve = results.ideal(prompts, s["ideal"]["betas"], s["ideal"]["effective"])
    times = results.scale(prompts)
    betas = [beta * times for beta in s["ideal"]["betas"]]
    return {
        "budget": dict(s["budget"]),
        "prompts": {"count": len(prompts), "conversations": len({p.conversation for p in prompts.values()})},
        "samples": {"pool": s["pool"], "test": s["test"]["samples"], "seeds": list(s["seeds"])},
        "start": results.start(prompts),
        "ideal": curve,
        "best_of_n": results.best_of(prompts, s["best_of"]),
        "methods": {m.name: _method(job, outcome, m.name, prompts, curve) for m in job.methods},
        "temperature": _temperature(job, prompts),
        "learned": {
            "accuracy": results.accuracy(prompts),
            "ideal": results.ideal(prompts, betas, s["ideal"]["effective"], learned=True),
            "loop": s["over"]["loop"],
            "points": _over(job, prompts, curve),
        },
    }


def _method(
    job: Job, outcome: Outcome, name: str, prompts: results.Prompts, curve: list[dict[str, Any]]
) -> dict[str, Any]:
    """One method: the points of its sweep, with seeds pooled; those that diverged are only counted."""
    m = next(m for m in job.methods if m.name == name)
    points = []
    given = job.store.folder(job.stages.replies)
    for value in m.values:
        stages = {seed: job.stages.trained(name, value, seed) for seed in job.settings["seeds"]}
        reasons = {seed: diverged(job.store.folder(stage)) for seed, stage in stages.items()}
        fine = [seed for seed, why in reasons.items() if why is None]
        rows = results.read_replies(
            [
                (h, job.store.folder(stage))
                for ((n, v, seed), h), stage in job.measured["test"].items()
                if (n, v) == (name, value) and seed in fine
            ]
        )
        points.append(
            {
                m.strength: value,
                "diverged": [f"seed {seed}: {why}" for seed, why in reasons.items() if why],
                "seconds": sum(outcome.seconds[stage.name] for stage in stages.values()),
                **({"spent": spent(job.store.folder(stages[fine[0]]), given)} if fine else {}),
                **(results.point(prompts, rows, curve) if rows else {}),
            }
        )
    kind = {"loop": m.loop} if m.loop else {"objective": m.objective}
    return {
        **kind,
        "strength": m.strength,
        "settings": dict(m.settings),
        "chosen": job.chosen[name],
        "points": points,
    }


def _temperature(job: Job, prompts: results.Prompts) -> dict[str, list[dict[str, Any]]]:
    """Model -> win rate against the start model at temperature 1, and reward, at each temperature."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, by_heat in job.warmed.items():
        found[name] = []
        for heat, group in by_heat.items():
            rows = results.read_replies([(h, job.store.folder(s)) for (_, h), s in group.items()])
            if rows:
                point = results.point(prompts, rows)
                found[name].append(
                    {"temperature": heat, **{k: point[k] for k in ("win_rate", "reward", "tokens")}}
                )
    return found


def _over(job: Job, prompts: results.Prompts, curve: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The loop against the learned reward, after each segment."""
    points = []
    for number, updates in enumerate(job.stages.segments):
        places: list[tuple[str, Stage, Stage]] = [
            (h, job.measured["over"][number, h], job.measured["over learned"][number, h])
            for h in job.stages.histories
        ]
        rows = results.read_replies(
            [(h, job.store.folder(said)) for h, said, _ in places],
            [job.store.folder(scores) for _, _, scores in places],
        )
        if rows:
            points.append({"updates": updates, **results.point(prompts, rows, curve)})
    return points
