"""The real files beside the repository, where there are any."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from halign.convert import as_kind, to_demonstrations, to_pairs, to_singles
from halign.errors import DataError, HalignError
from halign.readers import read, read_prompts

BESIDE = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("HALIGN_DATA", BESIDE))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data folder at {DATA}")

FILES = {  # rows, conversations
    "care/abcd_sample.jsonl": (3, 3),
    "care/sgd_feedback.jsonl.gz": (2088, 2088),
    "care/sgd_test.jsonl.gz": (2904, 2904),
    "care/sgd_train.jsonl.gz": (12164, 12164),
    "care/star_feedback.jsonl.gz": (798, 798),
    "care/star_test.jsonl.gz": (765, 765),
    "care/star_train.jsonl.gz": (3635, 3635),
    "preferences/hh_harmless_test.jsonl.gz": (472, 472),
    "preferences/hh_harmless_train.jsonl.gz": (1827, 1827),
    "preferences/nc_alpaca_eval_rankings_test.jsonl.gz": (145, 145),
    "preferences/nc_alpaca_eval_rankings_train.jsonl.gz": (660, 660),
    "preferences/oasst_rankings_test.jsonl.gz": (41, 41),
    "preferences/oasst_rankings_train.jsonl.gz": (114, 114),
    "preferences/qa_feedback_rankings_test.jsonl.gz": (102, 102),
    "preferences/qa_feedback_rankings_train.jsonl.gz": (398, 398),
    "preferences/star_choices_test.jsonl.gz": (843, 479),
    "preferences/star_choices_train.jsonl.gz": (5046, 2822),
    "preferences/taskmaster_ratings_test.jsonl.gz": (1549, 1549),
    "preferences/taskmaster_ratings_train.jsonl.gz": (5059, 5059),
    "preferences/xstest_rankings_test.jsonl.gz": (100, 100),
    "preferences/xstest_rankings_train.jsonl.gz": (350, 350),
}


@pytest.mark.parametrize("name", list(FILES))
def test_every_row_reads(name):
    data = read(DATA / name)
    assert (len(data), len({e.conversation for e in data})) == FILES[name]


def test_customer_turns_alone_are_no_format():
    with pytest.raises(DataError, match="make no known format"):
        read(DATA / "care/multidogo_customer_turns.jsonl.gz")


def test_star_choices_keep_to_the_parts_of_care_star():
    """star_choices took its parts from care/star's split, which is by conversation."""
    names = {
        part: {e.conversation for e in read(DATA / f"care/star_{part}.jsonl.gz")}
        for part in ("train", "test")
    }
    choices = {e.conversation for e in read(DATA / "preferences/star_choices_test.jsonl.gz")}
    assert not choices & names["train"]
    assert len(choices & names["test"]) > 0.8 * len(choices)


def test_star_choices_as_every_kind():
    data = read(DATA / "preferences/star_choices_test.jsonl.gz")
    with pytest.raises(HalignError, match="say pairs=best_rest"):
        as_kind(data, "pairs")
    taken = sum(len(e.responses) - 1 for e in data)
    assert len(as_kind(data, "pairs", how="best_rest").examples) == taken == 1686
    singles = as_kind(data, "singles", how="best_rest").examples
    assert Counter(e.desirable for e in singles) == {True: 843, False: 1686}
    assert len(as_kind(data, "lists").examples) == len(as_kind(data, "tokens").examples) == 843


def test_policy_column_becomes_guardrails():
    plain, ruled = (
        read(DATA / "care/star_test.jsonl.gz"),
        read(DATA / "care/star_test.jsonl.gz", guardrails="policy"),
    )
    assert ruled[0].dialogue.guardrails == tuple(plain[0].dialogue.meta["policy"])
    assert len(to_demonstrations(ruled).examples) == 765


def test_ratings_and_scores_count():
    ratings = read(DATA / "preferences/taskmaster_ratings_test.jsonl.gz")
    assert Counter(e.desirable for e in ratings) == {False: 850, True: 699}
    scored = read(DATA / "preferences/xstest_rankings_test.jsonl.gz")
    assert to_pairs(scored).dropped["choices that tie in all replies"] == 27
    assert sum(e.desirable for e in to_singles(scored, threshold=1.0).examples) == sum(
        s == 1 for e in scored for s in e.scores
    )


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpteacher_roleplay", 3146),
        ("nc_alpaca_subset", 2941),
        ("self_instruct_seeds", 175),
        ("user_oriented", 252),
    ],
)
def test_instructions_are_alpaca(name, count):
    data = read(DATA / f"instructions/{name}.jsonl.gz", skip_bad=True)
    assert data.format == "alpaca"
    assert len(data) + len(data.skipped) == count
    assert len(data.skipped) <= count // 100
    chat = read(DATA / f"instructions/{name}.jsonl.gz", format="alpaca_chat", skip_bad=True)
    assert len(chat) == len(data)


def test_a_table_of_prompts_and_one_with_mapped_columns():
    prompts = read_prompts(DATA / "eval/xstest_prompts.csv", columns={"user": "prompt"}, format="prompts")
    assert len(prompts) == 450
    columns = {"user": "Question", "chosen": "Best Answer", "rejected": "Best Incorrect Answer"}
    data = read(DATA / "eval/truthfulqa.csv.gz", columns=columns)
    assert (data.format, data[0].chosen.content[:23]) == ("pairs", "The watermelon seeds pa")
    data = read(DATA / "eval/gsm8k_test.jsonl.gz", columns={"user": "question", "assistant": "answer"})
    assert len(data) == 1319
