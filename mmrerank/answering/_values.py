"""The kind of value that a question asks for, and whether a text has one: what it costs, how many there are, when it was.

A line that shares the words of a question but has no such value does not answer it. Read from English wording; a question of any other
kind, or in another language, asks for no kind of value. What stands in the question itself is no answer to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_NUMBER_WORDS = """
two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million billion dozen half third quarter
 once twice none nobody nothing no
"""
_DATE_WORDS = """
january february march april may june july august september october november december
monday tuesday wednesday thursday friday saturday sunday mondays tuesdays wednesdays thursdays fridays saturdays sundays
jan feb mar apr jun jul aug sep sept oct nov dec spring summer autumn winter morning noon evening night daily weekly monthly yearly today
christmas easter
"""
_MONEY_WORDS = """
dollar dollars euro euros pound pounds cent cents pence crown crowns franc francs mark marks rupee rupees yen yuan usd eur gbp chf inr jpy
million millions billion billions thousand free
"""
_MONEY = re.compile(r"[$€£¥₹]")
_COST = re.compile(
    r"\bhow (?:much|expensive)\b.*\b(?:costs?|pay|paid|spend|spent|price|charged?|earn|worth)\b|\bhow expensive\b"
    r"|\bwhat (?:do|does|did|will|would)\b.*\bcosts?\b|\bat what (?:price|cost)\b"
    r"|\bwhat (?:is|was|were|are) the (?:\w+ ){0,2}(?:costs?|price|salary|fee|budget|rent)\b|\bwhat (?:salary|price|fee|rent)\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"^\W*when\b|\b(?:since|until) when\b"
    r"|\b(?:which|what) (?:year|date|month|weekday)\b|\b(?:on|in|at) (?:which|what) (?:day|year|month|time)\b",
    re.IGNORECASE,
)
_COUNT = re.compile(
    r"\bhow (?:many|long|far|high|deep|old|tall|wide|heavy|fast|cold|hot|warm|large|thick)\b|\bwhat percent(?:age)?\b", re.IGNORECASE
)
_TOKEN = re.compile(r"[^\W_][\w'’.,:/-]*\w|[^\W_]")
_HOLDS_DIGIT = re.compile(r"\d")


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """The kind of value that a question asks for."""

    stands_in: Callable[[str], bool]  # whether a text has one
    stands_written: bool  # whether pages say such values in words: prices and dates; how many there are may have to be counted


def value_of(question: str) -> Value | None:
    """The kind of value that the question asks for; None where it asks for none.

    >>> price = value_of("What did the new gauge cost?")
    >>> [price.stands_in(text) for text in ("The cost of the gauge was high.", "The gauge cost 1,150 pounds.", "Of 2019, 3 m deep.")]
    [False, True, False]
    """
    own = frozenset(_tokens(question))
    if _COST.search(question):
        return Value(stands_in=lambda text: _is_money(text) and _has(text, _words(_NUMBER_WORDS), own), stands_written=True)
    if _TIME.search(question):
        return Value(stands_in=lambda text: _has(text, _words(_DATE_WORDS), own), stands_written=True)
    if _COUNT.search(question):
        return Value(stands_in=lambda text: _has(text, _words(_NUMBER_WORDS), own), stands_written=False)
    return None


def _is_money(text: str) -> bool:
    return bool(_MONEY.search(text)) or not _words(_MONEY_WORDS).isdisjoint(_tokens(text))


def _has(text: str, words: frozenset[str], own: frozenset[str]) -> bool:
    """Whether a token of the text that the question does not say has a digit or is one of these words."""
    return any(token not in own and (token in words or _HOLDS_DIGIT.search(token)) for token in _tokens(text))


def _tokens(text: str) -> list[str]:
    return [token.casefold() for token in _TOKEN.findall(text)]


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())
