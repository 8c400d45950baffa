"""Groups made by hand, for the tests of builders."""

from __future__ import annotations

from typing import Any

from halign.dialogue import Dialogue, Message
from halign.loops.groups import Group


def group(
    *replies: str, rewards: Any = None, beats: Any = None, own: str | None = None, name: str = "c"
) -> Group:
    prompt = Dialogue.of([{"role": "user", "content": f"Question of {name}"}])
    rewards = None if rewards is None else tuple(map(float, rewards))
    return Group(prompt, name, replies, own and Message("assistant", own), rewards, beats)


def words(pairs: Any) -> list[tuple[str, str]]:
    return [(p.chosen.content, p.rejected.content) for p in pairs]
