"""``halign converse``: a model in whole dialogues with simulated users, judged rule by rule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from halign.cli.outputs import command, judge_of
from halign.cli.samplers import refuse, sampler_at, sampler_here
from halign.errors import HalignError

if TYPE_CHECKING:
    from halign.dialogues.adversary import Speaker
    from halign.dialogues.scenarios import Scenario

USERS = "care, adversary[:FILE], llm:NAME@URL, local:FOLDER"


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
    versus: Annotated[str | None, typer.Option(help="A second model, in the same scenarios.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the model. Default: its folder's name.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda ... Default: cuda where there is one.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of an OpenAI-compatible server that the models are behind.")
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option(help="With --endpoint, --user llm or --judge llm: variable that holds the key."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again where the folder was begun with other settings.")
    ] = False,
) -> None:
    """Let a model talk with simulated users, and say which rules hold through whole dialogues, and how reliably (pass^k).

    The same command after an interruption goes on at the turn where it stopped. The folder is a folder of verdicts, which
    [bold]halign report[/bold] reads.
    """
    from halign.dialogues.conversing import converse as run
    from halign.dialogues.talking import TalkSettings
    from halign.setting_words import parse_overrides

    if output is None:
        raise HalignError("halign converse MODEL --user ... --output FOLDER: --output is missing")
    given = {"runs": runs, "turns": turns, **parse_overrides(settings or ())}
    how = _settings(TalkSettings, given)
    speaker, found = _user(user, guardrails, scenarios, count, how.seed, key_env)
    words = judge or ("checks" if guardrails else "care")
    _refuse_judge(words, user, guardrails)
    asked = judge_of(words, None, False, None, {"key_env": key_env} if words.startswith("llm:") else {})
    if endpoint:
        refuse({"device": device}, "with --endpoint")
    called = _named([(name or _called(model), model), *([(_called(versus), versus)] if versus else [])])
    models = {c: _sampler(where, endpoint, key_env, device) for c, where in called}
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        task = bar.add_task("dialogues", total=None)
        result = run(
            models,
            speaker,
            found,
            asked,
            output,
            how,
            overwrite=overwrite,
            command=command(),
            watch=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(result.table())
    typer.echo(f"\n{output}")


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


def _user(
    words: str, guardrails: Path | None, file: Path | None, count: int, seed: int, key_env: str | None
) -> tuple[Speaker, list[Scenario]]:
    """Who speaks, and in which scenarios.

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
        sampler = sampler_at(url, where, key_env=key_env) if kind == "llm" and url else None
        if kind == "llm" and sampler is None:
            raise HalignError(f"--user {words}: llm:NAME@URL is needed")
        return ModelUsers(sampler or sampler_here(rest), words, seed=seed), read_scenarios(file, rules)
    raise HalignError(f"--user {words!r} is no user; there are {USERS}")


def _sampler(model: str, endpoint: str | None, key_env: str | None, device: str | None) -> Any:
    return sampler_at(endpoint, model, key_env=key_env) if endpoint else sampler_here(model, device=device)


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
