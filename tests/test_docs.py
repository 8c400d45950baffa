"""What README and docs point at is there: files, headings, commands, options, methods, recipes, loops and builders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from halign.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / "README.md", *(p for p in (ROOT / "docs").glob("*.md") if p.name != "log.md")]
)  # the log says what was true on its days
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"\bhalign ((?:[a-z][a-z_-]*)(?: [a-z][a-z_-]*)?)(.*)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{name(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} links to {link}"


@cache
def commands() -> dict[str, Any]:
    """``"data check"`` and the like -> the command."""

    def walk(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
        for word, command in group.commands.items():
            yield before + word, command
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{word} ")

    return dict(walk(typer.main.get_command(app)))


def said(page: Path) -> list[tuple[str, str]]:
    """(words after ``halign``, rest of the command) of every command in a page's code; lines that go on are joined."""
    text = page.read_text().replace("\\\n", " ")
    fenced = re.findall(r"^```(?:sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    indented = re.findall(r"^    (halign .*)$", text, re.MULTILINE)
    code = [line.split("  #")[0] for block in [*fenced, *indented] for line in block.splitlines()]
    code += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    parts = [part for line in code for part in re.split(r"&& |\(or: ", line.strip())]
    return [(m[1], m[2]) for part in parts if (m := re.match(COMMAND, part.strip()))]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_and_their_options_exist(page: Path) -> None:
    for words, rest in said(page):
        first, _, second = words.partition(" ")
        assert first in commands(), f"{name(page)}: halign {words}"
        command = commands()[first]
        while hasattr(command, "commands") and second:
            assert second in command.commands, f"{name(page)}: halign {words}"
            command = command.commands[second]
            second, _, rest = rest.strip().partition(" ") if hasattr(command, "commands") else ("", "", rest)
        if first == "run" or second == "audit":
            continue  # recipes have options of their own; judge audit is audit
        known = {option for p in command.params for option in (*p.opts, *p.secondary_opts)} | {"--help"}
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", rest):
            assert option in known, f"{name(page)}: halign {words} {option}"


def test_there_are_commands_to_look_at() -> None:
    assert len(said(ROOT / "README.md")) > 20
    assert sum(len(said(page)) for page in PAGES) > 80


def known_names() -> dict[str, set[str]]:
    """Beginning of a command -> the names that may follow."""
    from halign.builders import registry as builders
    from halign.loops import registry as loops
    from halign.objectives import registry as objectives
    from halign.recipes.settings import names as recipes

    methods = set(objectives.names())
    return {
        "train": methods,
        "methods": methods,
        "run": {*loops.names(), *recipes()},
        "data build": set(builders.names()),
    }


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_methods_recipes_loops_and_builders_exist(page: Path) -> None:
    for words, rest in said(page):
        for beginning, names in known_names().items():
            found = re.match(rf"{beginning} ([a-z_0-9]+)", words + rest)
            if found:
                assert found[1] in names, f"{name(page)}: halign {words}{rest}"


def test_every_help_has_an_example() -> None:
    lacking = [
        words
        for words, command in commands().items()
        if not hasattr(command, "commands") and f"halign {words}" not in (command.help or "")
    ]
    assert not lacking
