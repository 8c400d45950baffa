"""Exports of annotation tools: several annotators, drafts, suggestions, left and right."""

from __future__ import annotations

import pytest

from halign.dialogue import Message
from halign.errors import DataError
from halign.examples import Demonstration, Preference, Ranking
from halign.readers import read

FIELDS = {"prompt": "Hi", "response-1": "a", "response-2": "b"}


def answer(value, status="submitted", user="u"):
    return {"value": value, "user_id": user, "status": status}


def record(fields=FIELDS, suggestions=None, **responses):
    return {
        "id": "r1",
        "fields": fields,
        "metadata": {"batch": 1},
        "suggestions": suggestions or {},
        "responses": responses,
        "vectors": {},
        "status": "completed",
        "_server_id": "s",
    }


def one(row, format):
    data = read([row])
    assert data.format == format
    return data[0]


def test_votes_of_several_annotators_are_a_soft_preference():
    said = [
        answer("response-2"),
        answer("response-2"),
        answer("response-1"),
        answer("response-1", "discarded"),
    ]
    e = one(record(better=[*said, answer("tie")]), "argilla")
    assert isinstance(e, Preference)
    assert (e.chosen.content, e.rejected.content) == ("b", "a")
    assert e.preference == (1 + 1 + 0 + 0.5) / 4
    assert e.conversation == "r1"
    assert e.prompt.meta["metadata"] == {"batch": 1}


def test_a_suggestion_counts_only_where_nobody_answered():
    suggested = {"better": {"value": "response-1", "score": 0.9, "agent": "gpt"}}
    e = one(record(suggestions=suggested, better=[answer("response-2", "draft")]), "argilla")
    assert (e.chosen.content, e.preference) == ("a", 1.0)
    e = one(record(suggestions=suggested, better=[answer("response-2")]), "argilla")
    assert (e.chosen.content, e.preference) == ("b", 1.0)
    with pytest.raises(DataError, match="nobody submitted an answer"):
        read([record(better=[answer("response-2", "draft")])])


def test_rankings_of_several_annotators_have_mean_ranks():
    fields = {**FIELDS, "response-3": "c", "response-4": "d"}
    orders = [
        [{"value": f"response-{i}", "rank": r} for i, r in ((1, 1), (2, 2), (3, 3))],
        ["response-3", "response-1", "response-2"],  # ranks 2, 3, 1: the means are 1.5, 2.5, 2
    ]
    e = one(record(fields, order=[answer(o) for o in orders]), "argilla")
    assert isinstance(e, Ranking)
    assert ([m.content for m in e.responses], e.ranks) == (["a", "c", "b"], (1, 2, 3))
    assert [m.content for m in e.unranked] == ["d"]


def test_ratings_are_attributes_of_one_reply_and_scores_of_several():
    fields = {"instruction": "Hi", "response": "a", "context": "x"}
    e = one(record(fields, quality=[answer(4), answer(1)], tone=[answer(2)]), "argilla")
    assert isinstance(e, Demonstration)
    assert e.dialogue.messages[1] == Message("assistant", "a", {"attributes": {"quality": 2.5, "tone": 2}})
    assert e.dialogue.meta["context"] == "x"
    e = one(record(**{"rating-1": [answer(2), answer(3)], "rating-2": [answer(4)]}), "argilla")
    assert ([m.content for m in e.responses], e.scores) == (["b", "a"], (4.0, 2.5))


def test_flattened_records():
    row = {
        "id": "r1",
        "status": "completed",
        "_server_id": "s",
        **FIELDS,
        "source": "x",
        "better.responses": ["response-2", "response-1", "response-1"],
        "better.responses.users": ["u", "v", "w"],
        "better.responses.status": ["submitted", "submitted", "draft"],
        "better.suggestion": "response-1",
        "better.suggestion.score": None,
        "better.suggestion.agent": "gpt",
    }
    e = one(row, "argilla_flat")
    assert (e.preference, e.prompt.messages) == (0.5, (Message("user", "Hi"),))
    assert e.prompt.meta["source"] == "x"
    data = read([row, {**row, "better.responses": None, "better.responses.status": None}])
    assert (data[1].chosen.content, data[1].preference) == ("a", 1.0)


def test_records_of_version_1():
    row = {
        **FIELDS,
        "order": [answer([{"value": "response-2", "rank": 1}, {"value": "response-1", "rank": 2}])],
        "order-suggestion": None,
        "order-suggestion-metadata": {"agent": None},
        "external_id": "e7",
        "metadata": '{"batch": 1}',
    }
    e = one(row, "argilla_v1")
    assert ([m.content for m in e.responses], e.conversation) == (["b", "a"], "e7")
    assert e.prompt.meta["batch"] == 1


def test_a_record_whose_fields_say_nothing_is_an_error():
    with pytest.raises(DataError, match=r"cannot tell the replies among the fields essay, note"):
        read([record({"essay": "a", "note": "b"}, q=[answer(1)])])
    with pytest.raises(DataError, match="several questions choose a reply: better and kinder"):
        read([record(better=[answer("response-1")], kinder=[answer("response-2")])])
    with pytest.raises(DataError, match=r"no answer ranks, chooses or rates .* the questions are topic"):
        read([record(topic=[answer("sports")])])


def task(*results, data=None, cancelled=()):
    annotations = [
        {"id": i, "completed_by": i, "was_cancelled": i in cancelled, "result": [r]}
        for i, r in enumerate(results)
    ]
    return {
        "id": 12,
        "data": data or {"prompt": "Hi", "answer1": "a", "answer2": "b", "topic": "t"},
        "annotations": annotations,
        "predictions": [],
    }


def pairwise(selected, to="answer1,answer2"):
    return {"from_name": "pw", "to_name": to, "type": "pairwise", "value": {"selected": selected}}


def test_label_studio_pairwise():
    votes = [pairwise(s) for s in ("right", "right", "left", "left")]
    e = one(task(*votes, cancelled=[3]), "label_studio")
    assert (e.chosen.content, e.rejected.content, e.conversation) == ("b", "a", "12")
    assert e.preference == pytest.approx(2 / 3)
    assert e.prompt.meta == {"topic": "t"}
    e = one(
        task(pairwise("left", "answer2,answer1")), "label_studio"
    )  # the template shows the second on the left
    assert e.chosen.content == "b"
    assert one(task(pairwise("left", "txt-1,txt-2")), "label_studio").chosen.content == "a"


def test_label_studio_ranker():
    items = [{"id": "x", "title": "X", "body": "a"}, {"id": "y", "title": "Y", "body": "b"}]
    ranker = {"from_name": "rank", "to_name": "results", "type": "ranker"}
    said = {**ranker, "value": {"ranker": {"rank": ["y", "x"]}}}
    e = one(task(said, data={"prompt": "Hi", "items": items}), "label_studio")
    assert ([m.content for m in e.responses], e.ranks) == (["b", "a"], (1, 2))
    buckets = {**ranker, "value": {"ranker": {"good": ["y"], "bad": ["x"]}}}
    with pytest.raises(DataError, match="buckets say no order"):
        read([task(buckets, data={"prompt": "Hi", "items": items})])


def test_label_studio_rating_and_tasks_without_annotation():
    stars = {"from_name": "quality", "to_name": "response", "type": "rating", "value": {"rating": 4}}
    e = one(task(stars, data={"prompt": "Hi", "response": "a"}), "label_studio")
    assert e.dialogue.messages[1].extra == {"attributes": {"quality": 4.0}}
    with pytest.raises(DataError, match="no annotation with a result of type pairwise"):
        read([task(pairwise("left"), cancelled=[0])])
