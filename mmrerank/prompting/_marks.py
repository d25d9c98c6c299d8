"""The marks that an answer gives, in the grammars that models write: keyed JSON, chains, lists, lines.

    {"ranking": [3, 1]}      [3] > [1]      [Image 3, Image 1]      1. Image 3      3, 1
                                                                    2. Image 1

A reading is taken where it is the only one. Numbers of lines, scores beside marks, counts in prose and examples ("[2] > [1] > ...") are
no marks; a listing that describes one candidate after the other is no order. Where a chain and a list, or an order and the scores beside
it, say different things, nothing is read: an order that nobody gave is worse than none.

Source: ours, after the parsers and pitfalls in the notes on the methods.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from mmrerank.prompting._loose_json import Flow, Pair, Value, flows

Identifiers: TypeAlias = Literal["numbers", "letters"]

NO_MARK = 0  # what stands in a ranking and names no candidate
NOUN = (  # what models call what they were shown, in the languages in which they answer
    r"(?:marks?|numbers?|cells?|images?|img|pictures?|pic|photos?|figures?|fig|pages?|documents?|docs?|passages?|candidates?|items?|options?"
    r"|entry|texts?|nr|no|id|identifier|index|bild|seite|dokument|imagen|página|documento|pagina|immagine|imagem"
    r"|изображение|картинка|страница|документ|图像|图片|图|页面|文档|画像|ページ|文書|이미지|문서|페이지|第)"
)
FIELD = re.compile(rf"{NOUN}(?:[ _-]?(?:ids?|numbers?|no|index))?", re.IGNORECASE)
ORDER_KEY = re.compile(r"rank|order|sort|permut|ids$|indices|identifiers", re.IGNORECASE)
LIST_KEY = re.compile(r"answer|result|list|output|final|relevant|best|top|image|page|document|candidate|passage|mark", re.IGNORECASE)
PLACE_KEY = re.compile(r"rank|place|position", re.IGNORECASE)
SCORE_KEY = re.compile(r"scores?|relevance|confidence|probability|prob|grade|rating", re.IGNORECASE)
PLACE = re.compile(r"(?:rank(?:ed)?|placed?|position|top)[\s#:=-]*(\d{1,4})|(\d{1,4})(?:st|nd|rd|th)\b", re.IGNORECASE)
SCORE = re.compile(
    r"(?:(?P<name>score|relevance|confidence|prob\w*|grade|rating)[\s:=]*)?(?P<value>-?\d+(?:\.\d+)?)\s*(?:%|/\s*\d+)?", re.IGNORECASE
)
REMARK = r"(?:\s*\([^()\n]{0,80}\))?"  # a score or a word behind a mark, in parentheses
COUNTER = re.compile(r"(?:(?:rank|place|position|top|no\.?|#)\s*)?(\d{1,4})(?:st|nd|rd|th)?\s*(?:[.):|]|-(?=\s))\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One mark with what stands beside it."""

    mark: int  # NO_MARK: it names no candidate
    place: int | None = None  # its rank, where that is said
    score: float | None = None
    score_named: bool = False  # whether the number beside it is called a score
    described: bool = False  # whether words stand beside it


@dataclass(frozen=True, slots=True)
class Grammar:
    """How one mark is written."""

    named: str  # a pattern of a mark with brackets or a noun
    bare: str  # of one without
    value: Callable[[str], int]

    def entry(self, text: str, separators: str = ":=@") -> Entry | None:
        """The mark at the head of an element, with what stands behind it; None where it is no mark.

        >>> NUMBERS.entry("Image 3 (0.6)")
        Entry(mark=3, place=None, score=0.6, score_named=False, described=False)
        >>> NUMBERS.entry("1 or 2"), NUMBERS.entry("0.5")
        (None, None)
        """
        tail = rf"(?:\s*\((?P<inside>[^()]*)\)|\s*[{separators}]\s*(?P<behind>.*)|\s+[-|]\s*(?P<dashed>.*))?"
        match = re.fullmatch(rf"(?:{self.named}|{self.bare}){tail}[.,;]?", text.strip(" \t\r\n\"'"), re.IGNORECASE | re.DOTALL)
        if match is None:
            return None
        return _beside(self.mark_of(match[0]), (match["inside"] or match["behind"] or match["dashed"] or "").strip())

    def mark_of(self, text: str) -> int:
        """The first mark in a text that is known to begin with one."""
        match = re.match(rf"(?:{self.named}|{self.bare})", text, re.IGNORECASE)
        assert match is not None
        return self.value(next(group for group in match.groups() if group is not None))


def _grammar(identifier: str, bare: str, value: Callable[[str], int]) -> Grammar:
    joint = r"(?:[\s_-]?(?:id|no|number|nr)\b)?[\s_#:.\"'-]{0,4}"
    mark = rf"(?:{NOUN}{joint})?({identifier})"
    end = r"(?![\w])(?!\.\d)"
    named = rf"(?:\[\s*{mark}\s*\]{{1,2}}|\(\s*{mark}\s*\)|#\s*({identifier})|{NOUN}{joint}[\[(]?({identifier})[\])\"']?){end}"
    return Grammar(named, rf"({bare})(?![\w])(?!\.\d)", value)


NUMBERS = _grammar(r"\d{1,9}(?:\.0+)?", r"-?\d{1,9}(?:\.0+)?", lambda identifier: int(float(identifier)))
LETTERS = _grammar(r"[A-Za-z]", r"[A-Z]", lambda identifier: ord(identifier.upper()) - ord("A") + 1)
GRAMMARS: dict[Identifiers, Grammar] = {"numbers": NUMBERS, "letters": LETTERS}


def _beside(mark: int, text: str) -> Entry:
    """A mark with what is said behind it: a place, a score or words."""
    place = PLACE.fullmatch(text)
    if place is not None:
        return Entry(mark=mark, place=int(place[1] or place[2]))
    score = SCORE.fullmatch(text)
    if score is not None:
        return Entry(mark=mark, score=float(score["value"]), score_named=score["name"] is not None)
    return Entry(mark=mark, described=bool(text))


# All grammars ------------------------------------------------------------------


def marks_in(text: str, count: int, grammar: Grammar, *, tagged: bool) -> list[int] | None:
    """The marks in the order in which an answer gives them, out of range and repeated ones too; None where it gives none, or two orders.

    Args:
        count: how many candidates were shown.
        tagged: whether the text stood in an answer tag, so that a short list in it is the answer and no part of a sentence.
    """
    keyed = keyed_marks(text, grammar)
    if keyed is not None:
        return keyed
    readings = [chained_marks(text, grammar), listed_marks(text, count, grammar, tagged=tagged)]
    orders = [marks for marks in readings if marks is not None]
    if orders:
        return orders[0] if all(_distinct(marks) == _distinct(orders[0]) for marks in orders) else None
    lines = lined_marks(text, grammar)
    return lines if lines is not None else bare_marks(text, grammar)


def _distinct(marks: Sequence[int]) -> list[int]:
    return list(dict.fromkeys(marks))


# Objects and lists ------------------------------------------------------------------


def keyed_marks(text: str, grammar: Grammar) -> list[int] | None:
    """The list under a key such as `ranking` in the last object that has one.

    >>> keyed_marks('1: a boat. {"ranking": [1]} No: {"ranking": ["2", 1, "boat"]}', NUMBERS)
    [2, 1, 0]
    """
    for flow in flows(text):
        for pair in flow.pairs() if flow.object else ():
            if ORDER_KEY.search(pair.key) and not SCORE_KEY.fullmatch(pair.key):
                marks = _under_key(pair.value, flow, grammar)
                if marks is not None:
                    return marks
    return None


def _under_key(value: Value, around: Flow, grammar: Grammar) -> list[int] | None:
    if isinstance(value, str):
        marks = chained_marks(value, grammar) or bare_marks(value, grammar)
        return marks if marks is not None and len(marks) > 1 else None
    if not isinstance(value, Flow) or value.object:
        return None
    entries = [entry or Entry(mark=NO_MARK) for entry in _entries(value, grammar)]
    if value.entries and all(entry.mark == NO_MARK for entry in entries):
        return None  # the form of the answer, repeated from the task
    return in_order(_with_scores_of(entries, around, grammar))


def _with_scores_of(entries: list[Entry], around: Flow, grammar: Grammar) -> list[Entry]:
    """The entries with the scores that stand in a list of the same length beside theirs."""
    for pair in around.pairs():
        if SCORE_KEY.fullmatch(pair.key) and isinstance(pair.value, Flow) and len(pair.value.entries) == len(entries):
            scores = [SCORE.fullmatch(value) if isinstance(value, str) else None for value in pair.value.entries]
            return [replace(e, score=float(s["value"]), score_named=True) if s else e for e, s in zip(entries, scores, strict=True)]
    return entries


def listed_marks(text: str, count: int, grammar: Grammar, *, tagged: bool) -> list[int] | None:
    """The last list in brackets, or row of bracketed marks, that is an answer: one with every mark, or one that no sentence stands around.

    >>> listed_marks("First [1, 2], better [2, 1].", 2, NUMBERS, tagged=False)
    [2, 1]
    >>> listed_marks("Images [2, 3] show boats, the others do not.", 4, NUMBERS, tagged=False) is None
    True
    """
    keys = {pair.value.start: pair.key for flow in flows(text) if flow.object for pair in flow.pairs() if isinstance(pair.value, Flow)}
    for flow in flows(text):
        key = keys.get(flow.start)
        entries = _entries(flow, grammar)
        marks = [entry for entry in entries if entry is not None]
        of_other_things = key is not None and not LIST_KEY.search(key)
        if not marks or len(marks) < len(entries) or of_other_things or (flow.object and flow.pairs()):
            continue
        alone = tagged or key is not None or _stands_alone(text, flow.start, flow.stop)
        whole = text.strip(" .\n") == text[flow.start : flow.stop]
        if _is_answer([entry.mark for entry in marks], count, alone=alone, whole=whole):
            return in_order(marks)
    return _row(text, grammar)


def _is_answer(marks: Sequence[int], count: int, *, alone: bool, whole: bool) -> bool:
    """Whether a list of marks is one that was given as the order, and no part of a sentence."""
    if len(marks) == 1:
        return whole
    every = set(range(1, count + 1)) <= set(marks)
    return alone or (every and list(marks) != sorted(marks))


def _row(text: str, grammar: Grammar) -> list[int] | None:
    """[3], [1], [2] or [3][1][2] on lines of their own."""
    mark = rf"\[\s*{grammar.bare}\s*\]"
    for match in reversed(list(re.finditer(rf"{mark}{REMARK}(?:\s*[,;]?\s*{mark}{REMARK})+", text))):
        if _stands_alone(text, match.start(), match.end()):
            entries = [grammar.entry(piece[0]) for piece in re.finditer(rf"{mark}{REMARK}", match[0])]
            return in_order([entry for entry in entries if entry is not None])
    return None


def _entries(flow: Flow, grammar: Grammar) -> list[Entry | None]:
    """What the elements of a list name; lists within it count as if they were not there."""
    entries: list[Entry | None] = []
    for value in flow.entries:
        if isinstance(value, Flow) and not value.object and value.entries:
            entries += _entries(value, grammar)
        else:
            entries.append(_element(value, grammar))
    return entries


def _element(value: Value, grammar: Grammar) -> Entry | None:
    if isinstance(value, str):
        return grammar.entry(value)
    if isinstance(value, Pair):
        entry = grammar.entry(value.key)
        return None if entry is None else _beside(entry.mark, value.value if isinstance(value.value, str) else "words")
    return _fields(value.pairs(), grammar)


def _fields(pairs: Sequence[Pair], grammar: Grammar) -> Entry | None:
    """The mark of an object with fields such as id, rank, score."""
    texts = {pair.key.strip(): pair.value for pair in pairs if isinstance(pair.value, str)}
    marks = [grammar.entry(text) for key, text in texts.items() if FIELD.fullmatch(key)]
    if len(marks) != 1 or marks[0] is None:
        return None
    places = [int(text) for key, text in texts.items() if PLACE_KEY.fullmatch(key) and re.fullmatch(r"\d{1,4}", text)]
    scores = [float(match["value"]) for key, text in texts.items() if SCORE_KEY.fullmatch(key) and (match := SCORE.fullmatch(text))]
    return Entry(
        mark=marks[0].mark,
        place=places[0] if len(places) == 1 else None,
        score=scores[0] if len(scores) == 1 else None,
        score_named=True,
    )


# Chains, lines, bare marks ------------------------------------------------------------------


def chained_marks(text: str, grammar: Grammar) -> list[int] | None:
    """The marks of the last chain that has an end: `[3] > [1] = [2]`.

    >>> chained_marks("In the form [2] > [1] > ...: [3] > [1] (0.5) > [2]", NUMBERS)
    [3, 1, 2]
    """
    sign = r"\s*(?:>+=?|[=~≈])\s*"
    for mark, needs_line in ((grammar.named, False), (grammar.bare, True)):
        any_mark = rf"(?:{grammar.named}|{grammar.bare})"
        for match in reversed(list(re.finditer(rf"{mark}{REMARK}(?:{sign}{any_mark}{REMARK})+", text, re.IGNORECASE))):
            before, after = text[: match.start()].rstrip(), text[match.end() :].lstrip()
            if ">" not in match[0] or before.endswith((">", "=", "<")) or re.match(r"[<>=]|,?\s*(?:\.\.|…)|\[", after):
                continue
            if needs_line and not _stands_alone(text, match.start(), match.end()):
                continue
            entries = [grammar.entry(piece) for piece in re.split(sign, match[0])]
            if all(entry is not None for entry in entries):
                return in_order([entry for entry in entries if entry is not None])
    return None


def lined_marks(text: str, grammar: Grammar) -> list[int] | None:
    """The marks of a list with one entry a line, numbered or not.

    >>> lined_marks("Best first:\\n1. Image 3\\n2. Image 1", NUMBERS)
    [3, 1]
    >>> lined_marks("Image 1: a boat\\nImage 2: a door", NUMBERS) is None  # a description of each is no order
    True
    """
    lines = [line for line in (re.sub(r"^[\s|>-]*(?:[•·◦]\s*)?|[\s|]*$", "", line) for line in text.splitlines()) if line]
    counted = [(int(match[1]), line[match.end() :]) for line in lines if (match := COUNTER.match(line)) and line[match.end() :]]
    if counted:
        return _numbered(counted, grammar)
    runs = [list(run) for entry, run in itertools.groupby(lines, lambda line: _line_entry(line, grammar) is not None) if entry]
    runs = [run for run in runs if len(run) > 1]
    return None if not runs else _as_order([entry for line in runs[-1] if (entry := _line_entry(line, grammar)) is not None])


def _numbered(counted: Sequence[tuple[int, str]], grammar: Grammar) -> list[int] | None:
    """The marks behind the numbers of the last list that counts 1, 2, 3, ...; or the numbers, where they do not count and name nothing."""
    starts = [n for n, (number, _) in enumerate(counted) if number == 1]
    last = counted[starts[-1] :] if starts and starts[0] == 0 else counted
    entries = [_line_entry(body, grammar) for _, body in last]
    if len(last) > 1 and [number for number, _ in last] == list(range(1, len(last) + 1)):
        return None if None in entries else _as_order([entry for entry in entries if entry is not None])
    numbers = [number for number, _ in counted]
    bodies = [_line_entry(body, grammar) for _, body in counted]
    if grammar is NUMBERS and len(numbers) > 1 and not any(bodies) and len(set(numbers)) == len(numbers):
        return _as_order([_beside(number, body) for number, body in counted])
    return None


def _line_entry(line: str, grammar: Grammar) -> Entry | None:
    """The mark at the head of a line; a bare one has a sign behind it or nothing, since `3 dogs` is no mark."""
    entry = grammar.entry(line, separators=":=@,")
    if entry is not None:
        return entry
    match = re.match(rf"{grammar.named}\s+\S", line, re.IGNORECASE)
    return Entry(mark=grammar.mark_of(line), described=True) if match else None


def _as_order(entries: Sequence[Entry]) -> list[int] | None:
    """The marks, unless they only stand there to be described one after the other."""
    marks = [entry.mark for entry in entries]
    if marks == sorted(marks) and any(entry.described for entry in entries):
        return None
    return in_order(entries)


def bare_marks(text: str, grammar: Grammar) -> list[int] | None:
    """The marks of a text that is nothing else: `3, 1 and 2`.

    >>> bare_marks("Image 3, Image 1, then 2.", NUMBERS)
    [3, 1, 2]
    """
    inside = re.sub(rf"^{NOUN}s?\s*:?\s+(?=\S+\s*[,;])|[.!\s]+$", "", text.strip(), flags=re.IGNORECASE)
    pieces = re.split(r"(?:\s*[,;/&\n]\s*(?:(?:and|then)\s+)?|\s+(?:and|then)\s+)(?![^()\n]{0,80}\))", inside)
    if len(pieces) == 1 and re.fullmatch(rf"{grammar.bare}(?:\s+{grammar.bare})+", inside):
        pieces = inside.split()
    entries = [entry for piece in pieces if (entry := grammar.entry(piece)) is not None and not entry.described]
    return in_order(entries) if len(entries) == len(pieces) else None


def listed_scores(text: str) -> list[tuple[int, float]]:
    """(mark, score) of an object by mark, of a list of objects, or of lines, in the order in which they are given.

    >>> listed_scores('{"[1]": 5, "[7]]": 3}'), listed_scores("Doc: 2, Relevance: 12.5\\n- Doc 1: 3/10")
    ([(1, 5.0), (7, 3.0)], [(2, 12.5), (1, 3.0)])
    """
    for flow in flows(text):
        entries = _scored(flow)
        inside = [entry for value in flow.entries if isinstance(value, Flow) for entry in _scored(value)]
        if entries or inside:
            return entries or inside
    lines = [NUMBERS.entry(re.sub(r"^[\s|>-]+|[\s|]+$", "", line), separators=":=@,|") for line in text.splitlines()]
    return [(entry.mark, entry.score) for entry in lines if entry is not None and entry.score is not None]


def _scored(flow: Flow) -> list[tuple[int, float]]:
    """The scores of an object whose keys are marks, or that is one candidate with fields; of a list, those of its objects."""
    pairs = [] if _fields(flow.pairs(), NUMBERS) else flow.pairs()
    entries = [_element(Pair(pair.key, _score_of(pair.value)), NUMBERS) for pair in pairs]
    if not flow.object:
        entries = [_element(value, NUMBERS) for value in flow.entries]
    return [(entry.mark, entry.score) for entry in entries if entry is not None and entry.score is not None]


def _score_of(value: Value) -> Value:
    """The score of an object that has one among other fields, else the value itself."""
    scores = [pair.value for pair in value.pairs() if SCORE_KEY.fullmatch(pair.key)] if isinstance(value, Flow) else []
    return scores[0] if len(scores) == 1 else value


def named_scores(text: str, names: Sequence[str]) -> dict[int, dict[str, float]]:
    """mark -> name -> score, of the object or list that has most marks, of two alike the last; or of objects that stand alone.

    >>> named_scores('{"1": {"depth": 3}} better: [{"id": 1, "depth": 4}]', ["depth"])
    {1: {'depth': 4.0}}
    """
    tables, alone = list[dict[int, dict[str, float]]](), dict[int, dict[str, float]]()
    for flow in flows(text):
        pairs = flow.pairs() if flow.object else ()
        rows = {entry.mark: row for pair in pairs if (entry := NUMBERS.entry(pair.key)) and (row := _row_of(pair.value, names))}
        elements = [value for value in flow.entries if isinstance(value, Flow)]
        rows |= {entry.mark: row for value in elements if (entry := _fields(value.pairs(), NUMBERS)) and (row := _row_of(value, names))}
        tables.append(rows)
        own = _fields(pairs, NUMBERS)
        if own is not None and (row := _row_of(flow, names)):
            alone.setdefault(own.mark, row)
    best = max(tables, key=len, default={})
    return best if len(best) >= len(alone) else alone


def _row_of(value: Value, names: Sequence[str]) -> dict[str, float]:
    """The scores that an object has under these names."""
    keys = {_key(name): name for name in names}
    pairs = value.pairs() if isinstance(value, Flow) else ()
    scores = {keys[_key(pair.key)]: _score_of(pair.value) for pair in pairs if _key(pair.key) in keys}
    matches = {name: SCORE.fullmatch(score) for name, score in scores.items() if isinstance(score, str)}
    return {name: float(match["value"]) for name, match in matches.items() if match is not None}


def _key(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().lower()


# What stands beside marks, and around them ------------------------------------------------------------------


def in_order(entries: Sequence[Entry]) -> list[int] | None:
    """The marks as listed, or by the places that are said beside them; None where scores beside them say another order.

    Marks that are listed 1, 2, 3, ... with scores that are called so are ordered by them: such a listing is no order itself.

    >>> in_order([Entry(mark=1, score=0.2), Entry(mark=2, score=0.9)]) is None
    True
    """
    marks = [entry.mark for entry in entries]
    places = [entry.place for entry in entries if entry.place is not None]
    if entries and len(places) == len(entries):
        return [m for _, m in sorted(zip(places, marks, strict=True))] if len(set(places)) == len(places) else None
    scores = [entry.score for entry in entries if entry.score is not None]
    if len(scores) < len(entries) or scores == sorted(scores, reverse=True):
        return marks
    if marks == sorted(marks) and all(entry.score_named for entry in entries):
        return [mark for _, mark in sorted(zip((-score for score in scores), marks, strict=True))]
    return None


def _stands_alone(text: str, start: int, stop: int) -> bool:
    """Whether no sentence goes on around a piece of text: a line of its own, or behind a colon or `is`."""
    before = text[:start].rpartition("\n")[2].strip(" \t\"'(")
    after = text[stop:].partition("\n")[0].strip(" \t\"')")
    return bool(re.fullmatch(r"|.*:|.*\b(?:is|are|be)", before)) and bool(re.fullmatch(r"[.!;]?|[.!]\s.*", after))
