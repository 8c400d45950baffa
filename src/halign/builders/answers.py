"""Answers to questions that have a right one: what a text answers, and whether it is right."""

from __future__ import annotations

import re
import string
from typing import Literal

Match = Literal["contains", "exact", "number"]
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Small letters without articles, punctuation and spare white space (SQuAD's normalisation, Rajpurkar et al. 2016).

    >>> normalised("The  Eiffel-Tower, a tower!")
    'eiffeltower tower'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def final_number(text: str) -> str | None:
    """The number that a text ends in: after "####" where that stands (GSM8K), else its last one, without commas and spare
    noughts; None if there is none.

    >>> final_number("6 x 2 = 12 #### 1,200.50"), final_number("It is -3."), final_number("none")
    ('1200.5', '-3', None)
    """
    found = _NUMBER.findall(text.rpartition("####")[2])
    if not found:
        return None
    number = found[-1].replace(",", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


def answer_of(text: str, match: Match) -> str:
    """What tells two answers apart: the final number, or the normalised text."""
    return final_number(text) or "" if match == "number" else normalised(text)


def matches(reply: str, right: str, match: Match) -> bool:
    """True if the reply answers what is right.

    ``contains`` is R-Tuning's own rule: the right answer stands in the reply, as it is written.

    >>> matches("It is Paris.", "Paris", "contains"), matches("It is Paris.", "Paris", "exact")
    (True, False)
    """
    if match == "contains":
        return bool(right.strip()) and right.strip() in reply
    wanted = answer_of(right, match)
    return bool(wanted) and answer_of(reply, match) == wanted
