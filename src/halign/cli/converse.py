"""``halign converse``: a model in whole dialogues with simulated users, judged rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from halign.cli import model_options as m
from halign.cli.options import Remote, asks
from halign.cli.outputs import Draws, command, judge_of
from halign.cli.samplers import refuse, sampler_at, sampler_here
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.dialogues.adversary import Speaker
    from halign.dialogues.scenarios import Scenario
    from halign.llm import Budget

USERS = "care, adversary[:FILE], llm:NAME@URL, local:FOLDER"
ANY = "--endpoint, --user llm or --judge llm"


@asks("--endpoint", job=ANY)
@asks("--user llm", "user")
@asks("--judge llm", "judge")
def converse(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Folder, run folder or hub name; with --endpoint its name there."
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="temperature=1, max_new_tokens=200, seed=0 ..."),
    ] = None,
    user: Annotated[str, typer.Option(help=f"Who speaks as the user: {USERS}.")] = "care",
    output: Annotated[Path | None, typer.Option(help="Folder to write, and to go on in.")] = None,
    guardrails: Annotated[
        Path | None, typer.Option(help="Your rules (.md, .txt, .yaml, .json). Without: the care world's.")
    ] = None,
    scenarios: Annotated[
        Path | None,
        typer.Option(help="With --user llm or local: YAML, what each user wants (goal, opening ...)."),
    ] = None,
    count: Annotated[int, typer.Option(help="Of the care world: conversations.", min=1)] = 20,
    runs: Annotated[
        int, typer.Option(help="Dialogues in each scenario; k of pass^k goes up to it.", min=1)
    ] = 4,
    turns: Annotated[int, typer.Option(help="Replies of the model in a dialogue at most.", min=1)] = 12,
    judge: Annotated[
        str | None,
        typer.Option(
            help="care, checks, llm:NAME@URL, local:FOLDER. Default: care or, with --guardrails, checks."
        ),
    ] = None,
    judge_explain: Annotated[
        bool, typer.Option("--judge-explain", help="Of language models: a reason before every answer.")
    ] = False,
    judge_samples: Draws = None,
    versus: Annotated[str | None, typer.Option(help="A second model, in the same scenarios.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the model. Default: its folder's name.")
    ] = None,
    device: m.Device = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server that the models are behind.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again where the folder was begun with other settings.")
    ] = False,
    *,
    remote: Remote,
    user_remote: Remote,
    judge_remote: Remote,
) -> None:
    """Let a model talk with simulated users, and say which rules hold through whole dialogues, and how reliably (pass^k).

    The same command after an interruption goes on at the turn, or at the verdict, where it stopped; replies of endpoints are
    cached and paid once. The folder is a folder of verdicts, which [bold]halign report[/bold] reads.

    halign converse runs/dpo --user adversary --guardrails rules.md --output out
    """
    from halign.dialogues import conversing
    from halign.dialogues.account import clients
    from halign.dialogues.talking import TalkSettings
    from halign.setting_words import parse_overrides

    if output is None:
        raise HalignError("halign converse MODEL --user ... --output FOLDER: --output is missing")
    given = {"runs": runs, "turns": turns, **parse_overrides(settings or ())}
    how = _settings(TalkSettings, given)
    words = judge or ("checks" if guardrails else "care")
    if endpoint:
        refuse({"device": device}, "with --endpoint")
    sides = [("--endpoint", "", bool(endpoint), remote)]
    sides += [("--user llm", "user_", user.startswith("llm:"), user_remote)]
    sides += [("--judge llm", "judge_", words.startswith("llm:"), judge_remote)]
    budget, (at_model, at_user, at_judge) = _endpoints(remote, sides)
    speaker, found = _user(user, guardrails, scenarios, count, how.seed, at_user)
    _refuse_judge(words, user, guardrails)
    asked = judge_of(words, None, judge_explain, judge_samples, at_judge, "judge-")
    called = _named([(name or _called(model), model), *([(_called(versus), versus)] if versus else [])])
    models = {
        c: sampler_at(endpoint, where, **at_model) if endpoint else sampler_here(where, device=device)
        for c, where in called
    }
    job = conversing.Job(models, speaker, found, asked, how)
    if remote.dry_run:
        typer.echo(conversing.estimate(job, output, overwrite=overwrite))
        return
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        try:
            result = conversing.converse(
                job, output, budget=budget, overwrite=overwrite, command=command(), phase=partial(_phase, bar)
            )
        finally:
            for side, client in clients(models, speaker, asked).items():
                bar.console.print(f"{side}: {client.spent}", highlight=False, markup=False)
    typer.echo(result.table())
    typer.echo(f"\n{output}")


def _phase(bar: Progress, name: str) -> Callable[[int, int], None]:
    task = bar.add_task(name, total=None)
    return lambda done, total: bar.update(task, completed=done, total=total)


def _endpoints(
    remote: Remote, sides: Sequence[tuple[str, str, bool, Remote]]
) -> tuple[Budget | None, list[dict[str, Any]]]:
    """The budget that all sides share, and each side's settings of ``sampler_at``.

    Args:
        sides: (option that puts it behind an endpoint, prefix of its options, whether it is, what was said of it).

    Raises:
        HalignError: options that would have no effect, since their side, or no side at all, is behind an endpoint.
    """
    from halign.llm import Budget

    for option, prefix, on, of in sides:
        if not on:
            own = {f"{prefix}{k}": v for k, v in of.given().items() if k not in ("budget", "dry_run")}
            refuse(own, f"without {option}")
    if not any(on for _, _, on, _ in sides):
        refuse({"budget": remote.budget, "dry_run": remote.dry_run}, "without an endpoint")
    budget = None if remote.budget is None else Budget(remote.budget)
    return budget, [{**of.settings(), "budget": budget if on else None} for _, _, on, of in sides]


def _settings(kind: Any, given: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise HalignError(f"{place}: {first['msg']}; there is {', '.join(kind.model_fields)}") from None


def _refuse_judge(judge: str, user: str, guardrails: Path | None) -> None:
    world = guardrails is None and user.partition(":")[0] in ("care", "adversary")
    if judge == "care" and not world:
        raise HalignError(
            "--judge care knows the care world's dialogues only: take checks, llm:NAME@URL or local:FOLDER"
        )
    if (kind := judge.partition(":")[0]) in ("reward", "pairwise", "human", "chart"):
        raise HalignError(
            f"--judge {kind} says nothing about rules: take care, checks, llm:NAME@URL or local:FOLDER, and have the dialogues "
            f"judged afterwards: halign judge OUTPUT --judge {kind}:..."
        )


def _user(
    words: str,
    guardrails: Path | None,
    file: Path | None,
    count: int,
    seed: int,
    at: Mapping[str, Any],
) -> tuple[Speaker, list[Scenario]]:
    """Who speaks, and in which scenarios.

    Args:
        at: settings of the endpoint that a language model as the user is behind.

    Raises:
        HalignError: the words name no user, or options do not go together.
    """
    from halign.builders.guardrails.policy import read_policy
    from halign.dialogues import adversary
    from halign.dialogues.care_customers import CareCustomers, care_scenarios
    from halign.dialogues.model_users import ModelUsers
    from halign.dialogues.scenarios import read_scenarios

    kind, _, rest = words.partition(":")
    rules = () if guardrails is None else read_policy(guardrails).guardrails
    if kind not in ("llm", "local"):
        refuse({"scenarios": file}, f"with --user {kind}")
    if words == "care":
        refuse({"guardrails": guardrails}, "with --user care, whose conversations have rules of their own")
        return CareCustomers(), care_scenarios(count, seed=seed)
    if kind == "adversary":
        attacker = adversary.read_adversary(rest or None)
        if rules:
            return adversary.ScriptedUsers(), adversary.attack_scenarios(rules, attacker)
        attacks = adversary.care_attacks(care_scenarios(count, seed=seed), attacker)
        applies = adversary.applies_in_care({s.id: s.target for s in attacks})
        return adversary.ScriptedUsers(CareCustomers(), applies), attacks
    if kind in ("llm", "local") and rest:
        if file is None:
            raise HalignError(f"--user {kind}: --scenarios FILE is missing: what does each user want?")
        where, _, url = rest.partition("@")
        sampler = sampler_at(url, where, **at) if kind == "llm" and url else None
        if kind == "llm" and sampler is None:
            raise HalignError(f"--user {words}: llm:NAME@URL is needed")
        return ModelUsers(sampler or sampler_here(rest), words, seed=seed), read_scenarios(file, rules)
    raise HalignError(f"--user {words!r} is no user; there are {USERS}")


def _named(called: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Names that differ: of two folders of one name the whole paths.

    Raises:
        HalignError: it is one model twice.
    """
    if len({c for c, _ in called}) == len(called):
        return called
    if len({where for _, where in called}) < len(called):
        raise HalignError(
            f"--versus {called[0][1]} is the same model: give another, or a --name to compare it with itself"
        )
    return [(where, where) for _, where in called]


def _called(model: str) -> str:
    return Path(model).resolve().name if Path(model).exists() else model
