"""Made-up folders of verdicts: three models of known worth, a judge that reads both orders, one that says yes or no by rule."""

from __future__ import annotations

import json
import random
from pathlib import Path

from halign.judges import Verdict
from halign.judges.records import (
    FACTS,
    ITEMS,
    VERDICTS,
    GradeRecord,
    JudgedItem,
    PairRecord,
    Record,
    Trouble,
    append,
)

MODELS = {"start": 0.4, "tuned": 0.7, "<b>bold</b>": 0.55}
"""Model -> the probability that a reply of its is good."""

RULES = ("Address the customer by first name.", "Ask for the order number first.", "Never promise a refund.")
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def judged_folder(
    path: Path,
    *,
    items: int = 40,
    seed: int = 0,
    words: int = 20,
    facts: bool = True,
    judge: str = "careful",
    grades: bool = True,
) -> Path:
    """A folder: for every item a comparison of each two models, and a yes or no for each model and rule."""
    rng = random.Random(f"{seed} {judge}")
    rows: list[JudgedItem] = []
    verdicts: list[Record] = []
    names = list(MODELS)
    for i in range(items):
        item, conversation = f"item-{i}", f"conversation-{i // 3}"
        good = {m: random.Random(f"{seed} {m} {i}").random() < p for m, p in MODELS.items()}
        rows.append(_item(item, conversation, i, good, words))
        for a, b in (("start", "tuned"), ("tuned", "<b>bold</b>"), ("<b>bold</b>", "start")):
            verdicts.append(_pair(rng, item, conversation, judge, a, b, good))
        if grades:
            for m in names:
                for n, rule in enumerate(RULES):
                    kept = rng.random() < MODELS[m] + 0.1 * n
                    verdicts.append(
                        GradeRecord(
                            item,
                            conversation,
                            "adherence",
                            "yes-no",
                            m,
                            float(kept),
                            acceptable=kept,
                            guardrail=rule,
                        )
                    )
    append(path / ITEMS, rows)
    append(path / VERDICTS, verdicts)
    if facts:
        said = {
            "judge": judge,
            "rubric": "helpfulness",
            "settings": {"model": "m", "temperature": 0.0},
            "seconds": 75.0,
        }
        said |= {
            "calls": 200 * items,
            "cost": 0.25,
            "command": f"halign judge items.jsonl --judge {judge}",
        }
        (path / FACTS).write_text(json.dumps(said))
    return path


def _item(item: str, conversation: str, i: int, good: dict[str, bool], words: int) -> JudgedItem:
    rng = random.Random(i)

    def filler() -> str:
        return " ".join(f"w{int(5000 * rng.random() ** 2)}" for _ in range(words + i % 5))

    replies = {
        m: f"{'Gladly, of course' if g else 'No'}, this is {m} on {item}. {filler()}" for m, g in good.items()
    }
    replies["tuned"] += HOSTILE if i == 1 else ""
    prompt = [
        {"role": "system", "content": f"You answer for a shop. {HOSTILE if i == 1 else ''}"},
        {"role": "user", "content": f"Where is order {i}? {filler()}"},
        {"role": "assistant", "content": "May I have the number?"},
        {"role": "user", "content": f"It is {1000 + i}."},
    ]
    return JudgedItem(
        item, conversation, prompt, replies, list(RULES), 3, {"category": ("orders", "returns")[i % 2]}
    )


def _pair(
    rng: random.Random, item: str, conversation: str, judge: str, a: str, b: str, good: dict[str, bool]
) -> PairRecord:
    draw = rng.random()
    if draw < 0.04:
        troubles: tuple[Trouble, ...] = ("unparsable", "abstained", "failed")
        trouble = troubles[int(draw * 75)]
        return PairRecord(
            item, conversation, "helpfulness", judge, a, b, None, None, why=("???",), trouble=trouble
        )
    said = {(1, 1): Verdict.BOTH, (0, 0): Verdict.NEITHER, (1, 0): Verdict.A, (0, 1): Verdict.B}[
        int(good[a]), int(good[b])
    ]
    second = Verdict.B if draw > 0.8 else said
    why = (f"{a} is as it is.", f"{b} is as it is. {HOSTILE}" if item == "item-1" else f"{b} is as it is.")
    return PairRecord(item, conversation, "helpfulness", judge, a, b, said, second, turn=3, why=why)
