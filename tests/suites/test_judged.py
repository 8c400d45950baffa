"""Sets that a judge scores: asked in the published words, read by the published rule, and what has no verdict is counted."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from halign.errors import HalignError
from halign.judges import Verdict, find_judge
from halign.judges.numbers import Answered as Numbered
from halign.judges.words import answers_of
from halign.llm import Failure
from halign.suites import Bench, Files, Job, evaluate, find, resolve
from halign.suites.arena_hard import battles, label
from halign.suites.contract import Answered, Question, one_turn
from halign.suites.judging import rating
from halign.suites.open_ended import Exchange, pair_question, single_question
from halign.suites.totals import totals
from tests.llm.server import Server, last
from tests.suites.test_core import Parrot

DATA = Path(os.environ.get("HALIGN_DATA", "/work/shared/data"))
needs_data = pytest.mark.skipif(not (DATA / "eval").is_dir(), reason="needs the files under HALIGN_DATA/eval")


class Judge:
    """A judge that answers by a function of the question's last message, and remembers what it was asked."""

    name = "j"

    def __init__(self, say):
        self.say, self.questions = say, []

    def answers(self, prompts, *, max_tokens=2048):
        self.questions += prompts
        return [self.say(q.messages[-1].content) for q in prompts]


class Chances:
    """A judge that answers numbered questions by a function of the question: what it says of 1, 2, 3, or a Failure."""

    name = "chances"

    def __init__(self, say):
        self.say, self.questions, self.numbers = say, [], self

    def ask(self, questions):
        self.questions += [q.text for q in questions]
        said = [self.say(q.text) for q in questions]
        return [s if isinstance(s, Failure) else Numbered({1: s[0], 2: s[1], 3: s[2]}) for s in said]


YES, NO, UNTOLD = (0.9, 0.1, 0.0), (0.2, 0.8, 0.0), (0.2, 0.3, 0.5)


def bench(name, say, **more):
    suite = find(name)
    return Bench("m", Files(name, suite.files, DATA), Judge(say), **more)


def scored(name, answered, bench, **settings):
    suite = find(name)
    return suite.score(answered, resolve([suite], settings)[name], bench)


def questions(name, **settings):
    suite = find(name)
    return suite.questions(Files(name, suite.files, DATA), resolve([suite], settings)[name])


@needs_data
def test_mt_bench_asks_the_second_turn_on_the_first_reply_and_judges_both(tmp_path):
    def script(body, before):
        return f"Fine. Rating: [[{9 if 'Conversation with User' in last(body) else 4}]]"

    with Server(script) as server:
        job = Job(data=DATA, limit=24, judge=find_judge(f"llm:judge@{server.url}"))
        found = evaluate(Parrot(), ["mt_bench"], output=tmp_path, job=job, name="m").suites[0]
    assert found.measures["rating"].value == 6.5
    assert (found.measures["rating"].n, found.measures["rating"].clusters) == (48, 24)
    turns = {k: m["rating"].value for k, m in found.groups["agent_turn"].items()}
    assert turns == {"1": 4.0, "2": 9.0}
    items = [json.loads(line) for line in (tmp_path / "mt_bench/items.jsonl").read_text().splitlines()]
    first, second = items[0], items[1]
    assert second["prompt"][1]["content"] == first["replies"]["m"]
    assert second["replies"]["m"] == second["prompt"][2]["content"] + "!"


@needs_data
def test_mt_bench_shows_the_reference_in_three_categories_only():
    found = questions("mt_bench")
    assert len(found) == 80
    assert sum(q.meta["reference"] is not None for q in found) == 30
    assert {q.meta["category"] for q in found if q.meta["reference"]} == {"math", "reasoning", "coding"}
    assert {q.temperature for q in found} == {0.0, 0.1, 0.7}
    math = next(q for q in found if q.meta["category"] == "math")
    judge = bench("mt_bench", lambda text: "[[3]]")
    scored("mt_bench", [Answered(math, (("one", "two"),))], judge)
    one, two = (q.messages[-1].content for q in judge.judge.questions)
    assert f"[The Start of Reference Answer]\n{math.meta['reference'][0]}\n" in one
    assert math.meta["reference"][1] not in one
    assert f"### Reference answer:\n{math.meta['reference'][1]}\n" in two
    assert "### Assistant A:\none\n" in two
    assert "### Assistant A:\ntwo\n" in two


@needs_data
def test_published_prompts_are_filled_as_fastchat_fills_them():
    of = bench("vicuna", lambda text: "")
    single = single_question(of, Exchange(("Why {x}?",)), ["Because."]).messages
    assert single[0].content == "You are a helpful assistant."
    assert single[1].content.endswith(
        "[Question]\nWhy {x}?\n\n[The Start of Assistant's Answer]\nBecause.\n[The End of Assistant's Answer]"
    )
    pair = pair_question(of, Exchange(("Why?", "And?")), ["a1", "a2"], ["b1", "b2"]).messages[1].content
    assert pair.index("a1") < pair.index("a2") < pair.index("b1") < pair.index("b2")


def test_ratings_are_read_as_published():
    assert rating("Rating: [[7]] or [[8]]") == 7.0
    assert rating("[5]") == 5.0
    assert rating("Rating: 5") is None


@needs_data
def test_answers_without_a_rating_are_counted_and_not_averaged():
    said = {"a": "[[8]]", "b": "no idea", "c": "[[11]]"}

    def say(text):
        return said[re.search(r"Answer\]\n(\w)\n", text)[1]]

    of = bench("vicuna", say)
    answered = [Answered(Question(k, one_turn("?")), ((k,),)) for k in said]
    records = scored("vicuna", answered, of)
    assert [(r.value, r.trouble) for r in records] == [
        (8.0, None),
        (None, "unparsable"),
        (None, "unparsable"),
    ]
    assert totals(records)["rating"].value == 8.0


@needs_data
def test_a_judge_that_likes_what_it_sees_first_gives_no_advantage():
    of = bench("alpaca_eval", lambda text: "So: [[A]]")
    asked = questions("alpaca_eval", baseline="text_davinci_003")
    assert len(asked) == 805
    (record,) = scored("alpaca_eval", [Answered(asked[0], (("mine",),))], of, annotator="fastchat")
    assert (record.a, record.b, record.first, record.second) == (
        "m",
        "text_davinci_003",
        Verdict.A,
        Verdict.B,
    )
    assert record.outcome.advantage == 0.0
    assert not record.outcome.agrees


@needs_data
def test_the_better_reply_wins_in_either_order_and_a_tie_is_half():
    def better(text):
        a, b = (re.search(rf"Assistant {x}'s Answer\]\n(\w+)\n", text)[1] for x in "AB")
        return "[[C]]" if a == b else "[[A]]" if a == "good" else "[[B]]"

    of = bench("vicuna", better, baseline=("base", {"x": "bad", "y": "good", "z": "good"}))
    rows = [("x", "good"), ("y", "bad"), ("z", "good")]
    answered = [Answered(Question(q, one_turn(q)), ((reply,),)) for q, reply in rows]
    records = scored("vicuna", answered, of)
    assert [r.outcome.advantage for r in records] == [1.0, -1.0, 0.0]
    assert totals(records)["win rate on quality against base"].value == 0.5
    with pytest.raises(HalignError, match="has no output"):
        scored("vicuna", [Answered(Question("w", one_turn("w")), (("x",),))], of)


def test_arena_hard_labels_and_battles():
    assert label("First [[a>b]], in the end [[B>A]].") == "B>A"
    assert label("[[A?B]]") is None
    assert sum(battles("B>>A")) == 0
    assert len(battles("B>>A")) == 3


def test_arena_hard_score_is_the_mean_over_battles():
    def say(text):
        first, second = (re.search(rf"Assistant {x}'s Answer\|>\n(\w+)\n", text)[1] for x in "AB")
        worth = {"poor": 0, "base": 1, "fair": 1, "great": 3}
        gap = worth[first] - worth[second]
        return {2: "[[A>>B]]", 0: "[[A=B]]", -2: "[[B>>A]]", 1: "[[A>B]]", -1: "[[B>A]]"}[gap]

    suite = find("arena_hard")
    against = ("base", dict.fromkeys(("x", "y", "z"), "base"))
    of = Bench("m", Files("arena_hard", suite.files), Judge(say), baseline=against)
    rows = {"x": "great", "y": "fair", "z": "poor"}
    answered = [Answered(Question(q, one_turn(q)), ((reply,),)) for q, reply in rows.items()]
    found = totals(scored("arena_hard", answered, of))
    # six battles won, two ties, two battles lost
    assert found["score"].value == pytest.approx((6 + 1 + 0) / (6 + 2 + 2))
    assert found["win rate on quality against base"].value == 0.5


def test_flask_asks_for_each_skill_of_a_row(tmp_path):
    row = {"idx": 3, "instruction": "Add.", "answer": "4", "skill": ["Readability", "Logical Correctness"]}
    file = tmp_path / "flask_evaluation.jsonl"
    file.write_text(json.dumps(row) + "\n")
    suite = find("flask")
    files = Files("flask", suite.files, file)
    settings = resolve([suite], {})["flask"]
    (question,) = suite.questions(files, settings)
    judge = Judge(lambda text: "[[5]]" if "Quality: readability" in text else "[[2]]")
    records = suite.score([Answered(question, (("five",),))], settings, Bench("m", files, judge))
    assert {r.dimension: (r.value, r.scale) for r in records} == {
        "readability": (5.0, (1.0, 5.0)),
        "logical correctness": (2.0, (1.0, 5.0)),
    }
    assert "[Reference answer]\n4\n" in judge.questions[0].messages[0].content
    file.write_text(json.dumps({**row, "skill": ["Readabilty"]}) + "\n")
    with pytest.raises(HalignError, match="readability"):
        suite.questions(files, settings)


def test_xstest_with_a_judge_knows_partial_refusals():
    question = Question("q", one_turn("How?"), meta={"label": "safe", "type": "homonyms"})
    suite = find("xstest")
    for answer, expected in (("3_partial_refusal", [0.0, 0.0, 1.0]), ("dunno", [None])):
        of = Bench("m", Files("xstest", suite.files), Judge(lambda text, a=answer: a))
        records = scored("xstest", [Answered(question, (("I can't, but",),))], of)
        assert [r.value for r in records] == expected
    assert records[0].trouble == "unparsable"


def test_toxicity_by_a_judge_and_the_greatest_of_several_draws():
    suite = find("toxicity")
    of = Bench("m", Files("toxicity", suite.files), Chances(lambda text: YES if "vile" in text else NO))
    answered = [
        Answered(Question("a", one_turn("?")), (("fine",), ("vile",))),
        Answered(Question("b", one_turn("?")), (("fine",), ("fine",))),
    ]
    found = totals(scored("toxicity", answered, of, n=2))
    assert found["toxic replies"].value == 0.25
    assert found["prompts with a toxic reply"].value == 0.5
    assert found["greatest toxicity"].value == pytest.approx((0.9 + 0.2) / 2)


def test_toxicity_that_cannot_be_told_is_counted_and_not_averaged():
    suite = find("toxicity")
    said = {
        "a": YES,
        "b": UNTOLD,
        "c": Failure(0, "q", "refused", 400),
        "d": Failure(0, "q", "hm", answered=True),
    }
    of = Bench("m", Files("toxicity", suite.files), Chances(lambda text: said[text[-1]]))
    records = scored("toxicity", [Answered(Question(k, one_turn("?")), ((k,),)) for k in said], of)
    mine = [r for r in records if r.dimension == "toxicity"]
    assert [(r.value, r.trouble) for r in mine] == [
        (0.9, None),
        (None, "abstained"),
        (None, "failed"),
        (None, "unparsable"),
    ]
    assert mine[2].why == ("refused",)


def test_toxicity_by_a_classifier_is_its_own_probability(tokenizer, tmp_path):
    import torch
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
        id2label={0: "fine", 1: "toxic", 2: "odd"},
        label2id={"fine": 0, "toxic": 1, "odd": 2},
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    from halign.suites.toxicity import classified

    texts = ["Hello", "My order has not arrived yet"]
    expected = [model(torch.tensor([tokenizer.encode(t)])).logits.softmax(-1)[0, 1].item() for t in texts]
    assert classified(str(tmp_path), "Toxic", texts) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(HalignError, match=r"no label 'rude'.*fine, toxic, odd"):
        classified(str(tmp_path), "rude", texts)


def test_a_judge_that_cannot_do_what_a_set_asks_is_refused_before_anything_is_sampled(tmp_path):
    care, explains = find_judge("care"), find_judge("llm:m@http://localhost:1/v1", explain=True)
    for name, judge, words in (
        ("xstest", care, "asks in words, and judge care has none"),
        ("toxicity", care, "asks yes or no, and judge care"),
        ("toxicity", Judge(str), "asks yes or no, and judge j"),
        ("xstest", explains, "leave --judge-explain"),
        ("vicuna", None, "name one with --judge"),
        ("gsm8k", care, "no judge is asked by gsm8k"),
    ):
        with pytest.raises(HalignError, match=words):
            evaluate(None, [name], output=tmp_path, job=Job(judge=judge))
    with pytest.raises(HalignError, match="does not answer in words"):
        answers_of(care, [one_turn("?")])


def test_a_failing_endpoint_is_a_failure_and_no_grade():
    from halign.suites.judging import graded

    record = graded(Failure(0, "q", "refused", 400), rating, (1.0, 10.0), **_fields())
    assert (record.value, record.trouble, record.why) == (None, "failed", ("refused",))


def _fields():
    return {"item": "i", "conversation": "i", "dimension": "rating", "judge": "j", "model": "m"}


@needs_data
def test_mt_bench_compares_every_turn_with_another_models_answers(tmp_path):
    answers = tmp_path / "other.jsonl"
    row = {"question_id": 81, "model_id": "them", "choices": [{"turns": ["t1", "t2"]}]}
    answers.write_text(json.dumps(row) + "\n")
    question = questions("mt_bench")[0]

    def say(text):  # the second turn is theirs, the first nobody's
        if "t2" not in text:
            return "[[C]]"
        return "[[A]]" if text.index("t2") < text.index("m2") else "[[B]]"

    of = bench("mt_bench", say)
    answered = [Answered(question, (("m1", "m2"),))]
    first, second = scored("mt_bench", answered, of, against=str(answers))
    assert (first.b, first.outcome.advantage, second.outcome.advantage) == ("them", 0.0, -1.0)
    replies = tmp_path / "before/mt_bench/replies.jsonl"
    replies.parent.mkdir(parents=True)
    replies.write_text(
        json.dumps({"id": "mt_bench-81", "draws": [["t1", "t2"]], "finished": [[1, 1]]}) + "\n"
    )
    assert scored("mt_bench", answered, of, against=str(replies))[1].outcome.advantage == -1.0
    suite = find("mt_bench")
    one, two = answered[0].items(
        "m", suite.others(answered[0], resolve([suite], {"against": str(answers)})["mt_bench"], of)
    )
    assert (one.replies, two.replies) == ({"m": "m1", "them": "t1"}, {"m": "m2", "them": "t2"})
    assert "histories" not in one.meta
    assert [[m.content for m in two.answered_by(k).messages][1] for k in ("m", "them")] == ["m1", "t1"]
    assert two.answered_by("them").messages[2].content == question.then[0]
    named = Bench("them", of.files, of.judge)
    with pytest.raises(HalignError, match="same name: call it otherwise"):
        scored("mt_bench", answered, named, against=str(answers))
    replies.write_text(json.dumps({"id": "mt_bench-81", "draws": [["t1"]]}) + "\n")
    with pytest.raises(HalignError, match="no reply to turn 2 of mt_bench-81"):
        scored("mt_bench", answered, of, against=str(replies))


def test_a_local_judge_answers_as_its_sampler(policy, policy_folder):
    from halign.sampling import TransformersSampler

    (said,) = answers_of(find_judge(f"local:{policy_folder}"), [one_turn("Hello")], max_tokens=6)
    ((sample,),) = TransformersSampler(policy).sample([one_turn("Hello")], temperature=0.0, max_new_tokens=6)
    assert said == sample.text


def test_an_endpoint_is_asked_once_and_says_what_it_says():
    with Server(lambda body, before: "[[6]]" if "good" in last(body) else "nothing") as server:
        judge, asked = find_judge(f"llm:judge@{server.url}"), [one_turn("good"), one_turn("bad")]
        said = answers_of(judge, asked)
        assert [rating(s) for s in said] == [6.0, None]
        assert answers_of(judge, asked) == said
        assert len(server.bodies) == 2
        assert {b["temperature"] for b in server.bodies} == {0.0}
