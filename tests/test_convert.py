"""Conversions between kinds of examples, with what they drop."""

from __future__ import annotations

from dataclasses import replace

import pytest

from halign.convert import as_kind, to_demonstrations, to_pairs, to_rankings, to_singles
from halign.dialogue import Dialogue, Message
from halign.errors import HalignError
from halign.examples import Alternative, Conversation, Demonstration, Preference, Ranking, Rating


def said(text, **extra):
    return Message("assistant", text, extra)


U = Message("user", "Hi")
D = Dialogue((U,), ("Be kind.",), meta={"a": 1})


def ranking(*levels, scores=None, weight=1.0):
    return Ranking(D, tuple(said(f"r{i}") for i in range(len(levels))), levels, "c", scores, weight)


def conversation(**alternatives):
    """User, agent (own0), user, agent (own1); alternatives by turn."""
    turns = (U, said("own0"), U, said("own1"))
    return Conversation(
        Dialogue(turns, ("Be kind.",)), "c", {int(k[1:]): v for k, v in alternatives.items()}, 2.0
    )


def texts(pairs):
    return [(p.chosen.content, p.rejected.content) for p in pairs]


# -- pairs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "how", "want"),
    [
        ((1, 2, 2), "best_rest", ["01", "02"]),
        ((1, 1, 2), "best_rest", ["02", "12"]),
        ((1, 2, 3), "best_rest", ["01", "02"]),
        ((1, 2, 3), "all", ["01", "02", "12"]),
        ((1, 2, 2), "all", ["01", "02"]),
        ((1, 2, 3), "adjacent", ["01", "12"]),
        ((1, 2, 2, 4), "adjacent", ["01", "02", "13", "23"]),
    ],
)
def test_ranking_to_pairs(levels, how, want):
    pairs, dropped = to_pairs([ranking(*levels, weight=3.0)], how)
    assert texts(pairs) == [(f"r{a}", f"r{b}") for a, b in want]
    assert all((p.prompt, p.conversation, p.weight, p.preference) == (D, "c", 3.0, 1.0) for p in pairs)
    assert dropped == {}


def test_ties_and_equal_words_are_dropped_and_counted():
    same = Ranking(D, (said("x"), said("x"), said("y")), (1, 2, 3), "c")
    pairs, dropped = to_pairs([ranking(1, 1), same])
    assert texts(pairs) == [("x", "y")]
    assert dropped == {"choices that tie in all replies": 1, "pairs of two replies with the same words": 1}


def test_conversation_to_pairs_at_every_turn_with_alternatives():
    e = conversation(
        t1=(Alternative(said("bad0"), rank=2, violates="Be kind."), Alternative(said("worse0"), rank=3)),
        t3=(Alternative(said("bad1"), rank=2),),
    )
    pairs, dropped = to_pairs([e])
    assert texts(pairs) == [("own0", "bad0"), ("own0", "worse0"), ("own1", "bad1")]
    assert pairs[0].violates == "Be kind."
    assert pairs[0].prompt == e.dialogue[:1]
    assert pairs[2].prompt == e.dialogue[:3]
    assert pairs[2].prompt.guardrails == ("Be kind.",)
    assert {(p.conversation, p.weight) for p in pairs} == {("c", 2.0)}
    assert dropped == {}
    assert texts(to_pairs([e], "all").examples) == [
        ("own0", "bad0"), ("own0", "worse0"), ("bad0", "worse0"), ("own1", "bad1"),
    ]  # fmt: skip


def test_alternatives_that_tie_with_the_content_make_no_pair_with_it():
    e = conversation(t1=(Alternative(said("bad"), label=False), Alternative(said("fine"), label=True)))
    assert texts(to_pairs([e]).examples) == [("own0", "bad"), ("fine", "bad")]
    e = conversation(t1=(Alternative(said("fine"), label=True),))
    assert to_pairs([e]) == ([], {"choices that tie in all replies": 1})


def test_scored_alternatives_rank_below_the_content():
    e = conversation(t1=(Alternative(said("b"), score=1.0), Alternative(said("a"), score=2.0)))
    (made,), _ = to_rankings([e])
    assert [m.content for m in made.responses] == ["own0", "a", "b"]
    assert (made.ranks, made.scores) == ((1, 2, 3), None)
    own = said("own0", score=2.0)
    e = Conversation(
        Dialogue((U, own)), "c", {1: (Alternative(said("b"), score=1.0), Alternative(said("a"), score=2.0))}
    )
    (made,), _ = to_rankings([e])
    assert made.responses == (said("own0"), said("a"), said("b"))
    assert (made.ranks, made.scores) == ((1, 1, 3), (2.0, 2.0, 1.0))


def test_ratings_of_one_prompt_pair_good_with_bad():
    good, bad = Rating(D, said("g"), True, "c"), Rating(D, said("b"), False, "c")
    lone = Rating(Dialogue((Message("user", "Bye"),)), said("g"), True, "d")
    pairs, dropped = to_pairs([bad, lone, good, good])
    assert texts(pairs) == [("g", "b")]
    assert dropped == {
        "replies rated more than once": 1,
        "prompts with one rated reply: nothing to compare it with": 1,
    }
    scored = [Rating(D, said("x"), True, "c", 1.0), Rating(D, said("y"), True, "c", 3.0)]
    assert texts(to_pairs(scored).examples) == [("y", "x")]


# -- rankings, singles, demonstrations -----------------------------------------------------------------------


def test_pair_to_ranking_keeps_what_is_violated():
    pair = Preference(D, said("a"), said("b"), "c", violates="Be kind.")
    (made,), dropped = to_rankings([pair])
    assert made == Ranking(D, (said("a"), said("b", violates="Be kind.")), (1, 2), "c")
    assert dropped == {}
    assert to_pairs([made]).examples[0].violates == "Be kind."


def test_soft_preferences_are_turned_or_dropped():
    soft = [Preference(D, said("a"), said("b"), "c", preference=p) for p in (0.5, 0.2, 1.0)]
    singles, dropped = to_singles(soft)
    assert [(s.response.content, s.desirable) for s in singles] == [
        ("b", True),
        ("a", False),
        ("a", True),
        ("b", False),
    ]
    assert dropped == {"pairs with a preference of one half": 1, "soft preferences, taken as certain": 1}


def test_ranking_to_singles_by_place_or_threshold():
    e = ranking(1, 2, 3, scores=(3.0, 2.0, 1.0))
    assert [s.desirable for s in to_singles([e]).examples] == [True, False, False]
    assert [s.desirable for s in to_singles([e], threshold=2.0).examples] == [True, True, False]
    assert [s.score for s in to_singles([e]).examples] == [3.0, 2.0, 1.0]
    tied = ranking(1, 1, scores=(2.0, 2.0))
    assert to_singles([tied]) == ([], {"choices that tie in all replies": 1})
    assert [s.desirable for s in to_singles([tied], threshold=1.0).examples] == [True, True]
    with pytest.raises(HalignError, match="threshold=1 needs scores"):
        to_singles([ranking(1, 2)], threshold=1.0)


def test_ratings_can_be_cut_anew():
    rated = Rating(D, said("x"), True, "c", 1.0)
    assert to_singles([rated], threshold=2.0).examples[0].desirable is False
    with pytest.raises(HalignError, match="needs scores"):
        to_singles([Rating(D, said("x"), True, "c")], threshold=2.0)


def test_demonstrations():
    e = conversation(t1=(Alternative(said("bad0"), rank=2),))
    made, dropped = to_demonstrations(
        [
            e,
            ranking(1, 1, 3),
            Preference(D, said("a"), said("b"), "c", preference=0.4),
            Rating(D, said("g"), True, "c"),
            Rating(D, said("b"), False, "c"),
        ]
    )
    assert made == [
        Demonstration(e.dialogue, "c", None, 2.0),
        Demonstration(D + said("r0"), "c", (1,)),
        Demonstration(D + said("b"), "c", (1,)),
        Demonstration(D + said("g"), "c", (1,)),
    ]
    assert dropped == {
        "alternatives, not imitated": 1,
        "replies that are not the best, not imitated": 3,
        "replies rated bad, not imitated": 1,
    }


# -- as_kind -------------------------------------------------------------------------------------------------


def test_conversations_become_any_kind_without_a_choice():
    e = [conversation(t1=(Alternative(said("bad0"), rank=2),), t3=(Alternative(said("bad1"), rank=2),))]
    assert [len(as_kind(e, k).examples) for k in ("pairs", "lists", "singles", "tokens")] == [2, 2, 4, 1]


@pytest.mark.parametrize(
    ("examples", "kind", "settings", "says"),
    [
        ([ranking(1, 2)], "pairs", {}, "rankings can make pairs in several ways: say pairs=best_rest"),
        ([Rating(D, said("a"), True, "c")], "pairs", {}, "ratings of one prompt can make pairs"),
        ([ranking(1, 2)], "singles", {}, "do not say which replies are good"),
        ([ranking(1, 2)], "singles", {"how": "all"}, "say pairs=best_rest"),
        ([ranking(1, 2)], "singles", {"how": "best_rest", "threshold": 1.0}, "not both"),
        ([ranking(1, 2)], "tokens", {"how": "best_rest"}, "has no effect on tokens"),
        ([ranking(1, 2)], "pairs", {"how": "best"}, "no such way to make pairs: 'best'"),
        ([ranking(1, 1)], "pairs", {"how": "all"}, "none of the 1 examples makes pairs: 1 choices that tie"),
        ([Preference(D, said("a"), said("b"), "c")], "pairs", {"how": "all"}, "pairs already"),
        ([Preference(D, said("a"), said("b"), "c")], "singles", {"how": "best_rest"}, "has no effect"),
        (
            [Demonstration(D + said("a"), "c")],
            "pairs",
            {},
            "compares nothing. Give its agent turns 'alternatives'",
        ),
        ([Demonstration(D + said("a"), "c")], "singles", {}, "compares nothing"),
        ([conversation()], "lists", {}, "no turn has alternatives"),
        ([ranking(1, 2)], "triples", {}, "no such kind"),
    ],
)
def test_impossible_or_idle_choices_name_the_way_out(examples, kind, settings, says):
    with pytest.raises(HalignError) as e:
        as_kind(examples, kind, **settings)
    assert says in str(e.value)


def test_pairs_and_ratings_need_no_choice_as_singles():
    pair, rated = Preference(D, said("a"), said("b"), "c"), Rating(D, said("g"), True, "c")
    assert as_kind([pair], "pairs").examples == [pair]
    assert as_kind([rated], "singles").examples == [rated]
    assert [s.desirable for s in as_kind([pair], "singles").examples] == [True, False]
    assert as_kind([ranking(1, 2)], "lists").examples == [ranking(1, 2)]


def test_of_a_partial_ranking_what_nobody_placed_is_dropped_and_counted():
    partial = replace(ranking(1, 2), unranked=(said("x"), said("y")))
    for kind, how in (("lists", None), ("pairs", "all"), ("singles", "best_rest")):
        whole = as_kind([ranking(1, 2)], kind, how=how)
        found = as_kind([partial], kind, how=how)
        assert (list(found.examples), whole.dropped) == (list(whole.examples), {})
        assert found.dropped == {"replies that were not ranked": 2}
    found = as_kind([partial], "tokens")
    assert list(found.examples) == list(as_kind([ranking(1, 2)], "tokens").examples)
    assert found.dropped == {"replies that are not the best, not imitated": 3}
