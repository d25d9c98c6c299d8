"""What a model answered -> an order, a choice or scores of the candidates, with a status that says how much of it was the model's.

    '<think>...</think> [3] > [1]'  --read_marks-->  marks (3, 1)  --order_of(marks, 4)-->  positions (2, 0, 1, 3), "completed"

Marks are the numbers 1..count (or letters A, B, ...) under which candidates were shown, positions count them from 0. All methods read
answers here, so that a grammar that one of them knows is known to all: `_final_part` finds what is the answer behind the reasoning,
`_marks` the marks in it. Of two readings none is taken: an order that nobody gave is worse than the first stage's, which a program can
tell by its status.

Source: ours; the table of answers that it is held to is `tests/golden/answers.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mmrerank.prompting._final_part import ANSWER_BEGINS, ANSWER_ENDS, THOUGHT_ENDS, FinalPart, behind_label, final_part
from mmrerank.prompting._loose_json import flows
from mmrerank.prompting._marks import (
    GRAMMARS,
    SCORE,
    Grammar,
    Identifiers,
    bare_marks,
    chained_marks,
    listed_scores,
    marks_in,
    named_scores,
)
from mmrerank.types import Status

SEVERITY: tuple[Status, ...] = ("ok", "completed", "repaired", "fallback")
EXCERPT_LETTERS = 80
NO_RANKING = "no ranking in the answer"
BROKEN_OFF = "the answer breaks off"
CUT = "the answer was cut at max_tokens"
NO_CANDIDATE = "no mark in the answer is one of a candidate"
FROM_ZERO = "the answer counts from 0, the candidates from 1"
NAMED = re.compile(
    r"^[^\w\n]{0,9}(?:mark|number|cell|picture|image)?[ #]{0,3}(\d{1,4})[^\w\n]{0,9}?[:.)=-][^\w\n]{1,9}(\w.*)$",
    re.MULTILINE | re.IGNORECASE,
)


# Marks -> an order ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Positions into the candidates as they came, each once, best first."""

    positions: tuple[int, ...]
    status: Status
    message: str = ""  # what was mended


def order_of(marks: Sequence[int] | None, count: int) -> Order:
    """The order that marks 1..count describe: first mentions count, marks out of range are dropped, missing ones follow as they came.

    `ok` when every mark was there once, `completed` when some were missing, `repaired` when some were repeated or out of
    range, `fallback` (the order as it came) when no mark can be used or `marks` is None.

    >>> order_of([3, 1], 4)
    Order(positions=(2, 0, 1, 3), status='completed', message='2 of 4 marks were missing and keep their order')
    """
    usable = list(dict.fromkeys(mark - 1 for mark in marks or () if 1 <= mark <= count))
    missing = [position for position in range(count) if position not in set(usable)]
    dropped = len(marks or ()) - len(usable)
    if not usable and count:
        return order_as_it_came(count, f"{NO_RANKING}; the order stays as it came")
    positions = (*usable, *missing)
    left = f"{len(missing)} of {count} marks were missing and keep their order"
    if dropped:
        message = f"{dropped} marks were repeated or out of range and dropped"
        return Order(positions=positions, status="repaired", message=f"{message}; {left}" if missing else message)
    return Order(positions=positions, status="completed", message=left) if missing else Order(positions=positions, status="ok")


def order_as_it_came(count: int, why: str) -> Order:
    """The order of what gave none, with the reason.

    >>> order_as_it_came(2, "no answer: timed out")
    Order(positions=(0, 1), status='fallback', message='no answer: timed out')
    """
    return Order(positions=tuple(range(count)), status="fallback", message=why)


def worst(statuses: Iterable[Status]) -> Status:
    """The gravest of several; `ok` when there are none."""
    return max(statuses, key=SEVERITY.index, default="ok")


# An answer -> marks ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The marks of an answer, best first, or why there are none."""

    marks: tuple[int, ...] | None  # from 1; out of range and repeated ones too
    why: str = ""


def read_marks(text: str, count: int, *, identifiers: Identifiers = "numbers", cut: bool = False) -> Reading:
    """The order that an answer gives, as marks.

    Args:
        count: how many candidates were shown.
        identifiers: how they were marked.
        cut: whether the answer was ended by its limit of tokens, so that what is not whole may have gone on.

    >>> read_marks("<think>[1] or [2]?</think> Final ranking: [2] > [1] > [3]", 3).marks
    (2, 1, 3)
    >>> read_marks("None of the 6 images answers the question.", 6)
    Reading(marks=None, why='no ranking in the answer')
    """
    part = final_part(text)
    if part.why:
        return Reading(marks=None, why=part.why)
    regions = dict.fromkeys((behind_label(part.text), part.text))
    readings = (marks_in(region, count, GRAMMARS[identifiers], tagged=part.tagged) for region in regions)
    marks = next((marks for marks in readings if marks), None)
    if marks is None:
        return Reading(marks=None, why=CUT if cut else NO_RANKING)
    every = set(range(1, count + 1))
    if not every & set(marks):
        return Reading(marks=None, why=NO_CANDIDATE)
    whole = every <= set(marks)
    if not whole and _breaks_off(part, cut=cut):
        return Reading(marks=None, why=CUT if cut else BROKEN_OFF)
    if count > 1 and set(marks) == set(range(count)):
        return Reading(marks=None, why=FROM_ZERO)
    return Reading(marks=tuple(marks))


def _breaks_off(part: FinalPart, *, cut: bool) -> bool:
    """Whether an answer may have gone on: its tag was never closed or its tokens ran out, and no bracket ends it."""
    return not part.closed and (cut or part.tagged) and not part.text.rstrip(" .\n").endswith(("]", "}", ")"))


def read_order(text: str, count: int, *, identifiers: Identifiers = "numbers", cut: bool = False) -> Order:
    """The whole order that an answer gives, with its status; arguments as of `read_marks`.

    >>> read_order("[3] > [1]", 3)
    Order(positions=(2, 0, 1), status='completed', message='1 of 3 marks were missing and keep their order')
    """
    reading = read_marks(text, count, identifiers=identifiers, cut=cut)
    if reading.why:
        return order_as_it_came(count, f"{reading.why}; the order stays as it came")
    return order_of(reading.marks, count)


def read_choice(text: str, count: int, *, identifiers: Identifiers = "numbers") -> int | None:
    """The position of the one candidate that an answer names, or that leads the chain that it gives; None where it names none or several.

    >>> read_choice("<think>1 or 2?</think><answer>[2]</answer>", 3), read_choice("[2] and [3] fit.", 3)
    (1, None)
    """
    part = final_part(text)
    grammar = GRAMMARS[identifiers]
    for region in dict.fromkeys((behind_label(part.text), part.text)):
        marks = _choices(region, grammar)
        if marks:
            return marks[0] - 1 if len(set(marks)) == 1 and 1 <= marks[0] <= count else None
    return None


def _choices(text: str, grammar: Grammar) -> list[int]:
    """The marks that a text names as the best: the head of a chain, a field of an object, or what stands on lines of its own."""
    chain = chained_marks(text, grammar)
    if chain:
        return chain[:1]
    values = [pair.value for flow in flows(text) if flow.object for pair in flow.pairs() if not SCORE.fullmatch(pair.key)]
    fields = [entry.mark for value in values if isinstance(value, str) and (entry := grammar.entry(value)) is not None]
    if fields:
        return fields
    lines = [bare_marks(line, grammar) for line in text.splitlines()]
    if any(lines):
        return [mark for marks in lines for mark in marks or ()]
    sentence = re.fullmatch(rf".*\b(?:is|choose|best:?)\s*(?P<mark>{grammar.named})\W*", text, re.IGNORECASE)
    return [grammar.mark_of(sentence["mark"])] if sentence else []


# An answer -> scores ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreReading:
    """What an answer says of candidates in numbers."""

    scores: Mapping[int, float] = field(default_factory=dict)  # position from 0 -> score
    message: str = ""  # what was dropped or brought into range, or why nothing could be read


def read_scores(text: str, count: int, *, low: float = 0, high: float = 10) -> ScoreReading:
    """The scores that an answer gives by mark, brought into range; the first of a mark counts, those of no candidate are dropped.

    >>> read_scores('<answer>{"[1]": 5, "[3]": 12, "[9]": 1}</answer>', 3)
    ScoreReading(scores={0: 5.0, 2: 10}, message='1 scores of no candidate dropped; 1 scores brought into 0..10')
    """
    part = final_part(text)
    entries = [] if part.why else listed_scores(part.text)
    if not entries:
        return ScoreReading(message=part.why or "no scores in the answer")
    scores: dict[int, float] = {}
    for mark, score in entries:
        if 1 <= mark <= count:
            scores.setdefault(mark - 1, score)
    within = {position: min(max(score, low), high) for position, score in scores.items()}
    moved = sum(within[position] != score for position, score in scores.items())
    dropped = sum(not 1 <= mark <= count for mark, _ in entries)
    repeated = len(entries) - dropped - len(scores)
    messages = [
        f"{dropped} scores of no candidate dropped" * bool(dropped),
        f"{repeated} repeated scores dropped" * bool(repeated),
        f"{moved} scores brought into {low:g}..{high:g}" * bool(moved),
    ]
    return ScoreReading(scores=within, message="; ".join(filter(None, messages)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TableReading:
    """What an answer says of candidates in several numbers each."""

    rows: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # position from 0 -> name -> number, as it was given
    message: str = ""  # what was dropped, or why nothing could be read


def read_table(text: str, count: int, names: Sequence[str]) -> TableReading:
    """The numbers by name that an answer gives each mark, as an object of objects or as objects with a mark among their fields.

    Args:
        names: those that are read, whatever their case; others are left aside, and a candidate with none of them has no row.

    >>> read_table('{"[1]": {"Relevance": 7, "depth": 2}, "[9]": {"relevance": 1}}', 3, ["relevance", "depth"])
    TableReading(rows={0: {'relevance': 7.0, 'depth': 2.0}}, message='1 rows of no candidate dropped')
    """
    part = final_part(text)
    rows = {} if part.why else named_scores(part.text, names)
    if not rows:
        return TableReading(message=part.why or "no scores in the answer")
    usable = {mark - 1: row for mark, row in rows.items() if 1 <= mark <= count}
    dropped = len(rows) - len(usable)
    return TableReading(rows=usable, message=f"{dropped} rows of no candidate dropped" if dropped else "")


def read_grade(text: str, low: int = 0, high: int = 10) -> int | None:
    """The one whole number within low..high that an answer is, or that it names beside its scale; None where there is none, or several.

    >>> read_grade("<think>3 or 4?</think><answer>4</answer>"), read_grade("I give it 7 out of 10.")
    (4, 7)
    >>> read_grade("7.5") is read_grade("3 or 4") is None
    True
    """
    part = final_part(text)
    inside = _scale(low, high).sub(" ", behind_label(part.text))
    numbers = re.findall(r"(?<![\w.,-])-?\d{1,9}(?:[.,]\d+)?(?!\w)", inside)
    grades = {int(number) for number in numbers if number.isdigit()}
    return grades.pop() if len(set(numbers)) == 1 and len(grades) == 1 and low <= min(grades) <= high else None


def _scale(low: int, high: int) -> re.Pattern[str]:
    """How a scale is named beside a grade."""
    return re.compile(rf"(?:/|\bout of|\bof)\s*{high}\b|\b{low}\s*(?:-|to|\.\.|and)\s*{high}\b")


def grade_span(text: str, low: int = 0, high: int = 10) -> tuple[int, int] | None:
    """Where in a model's text the digits of its grade stand, (start, stop); None where there is no grade, or it is written in other signs.

    Behind the reasoning, and in the answer's tag where there is one: the same number in a thought is none.

    >>> text = "<think>7 of 9 words</think><answer>7</answer>"
    >>> grade_span(text), text[35:36]
    ((35, 36), '7')
    """
    grade = read_grade(text, low, high)
    start = max((match.end() for match in THOUGHT_ENDS.finditer(text)), default=0)
    tag = max((match.end() for match in ANSWER_BEGINS.finditer(text, start)), default=None)
    end = ANSWER_ENDS.search(text, tag) if tag is not None else None
    inside = text[: end.start()] if end else text
    hidden = _scale(low, high).sub(lambda match: " " * len(match[0]), inside)
    numbers = re.finditer(r"(?<!\d)\d{1,9}(?!\d)", hidden)
    spans = [match.span() for match in numbers if match.start() >= (tag or start) and int(match[0]) == grade]
    return spans[-1] if spans else None


# What an answer says beside the order ------------------------------------------------------------------


def named_marks(text: str, count: int) -> dict[int, str]:
    """What the answer says of a mark on a line of its own before the JSON.

    >>> named_marks('1: a red door\\n(2) - a boat\\n{"ranking": [2, 1]}', 2)
    {1: 'a red door', 2: 'a boat'}
    """
    return {int(mark): short(line) for mark, line in NAMED.findall(text) if 1 <= int(mark) <= count}


def short(text: str, letters: int = EXCERPT_LETTERS) -> str:
    """The text on one line, cut to so many letters.

    >>> short("a red\\n door", 6)
    'a red…'
    """
    line = " ".join(text.split())
    return line if len(line) <= letters else line[: letters - 1].rstrip() + "…"
