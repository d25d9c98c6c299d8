"""The wordings in which a text names pages, behind `pages_named`: patterns that take longer to compile than a search takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmrerank.types import PageNames

_ORDER = "first second third fourth fifth sixth seventh eighth ninth tenth"
_SMALL = """
one two three four five six seven eight nine ten
eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen
"""
_ONES = tuple(_SMALL.split())
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_ORDINALS = {word: number for number, word in enumerate(_ORDER.split(), 1)}
_NUMBERS = {word: number for number, word in enumerate(_ONES, 1)} | {word: 10 * number for number, word in enumerate(_TENS, 2)}
_NUMBERS |= {f"{tens}{gap}{one}": _NUMBERS[tens] + _NUMBERS[one] for tens in _TENS for one in _ONES[:9] for gap in "- "}
_ROMANS = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_MOST = 50  # pages in "pages 3 to 40"; a longer stretch says little

_UNIT = r"(?:pages?|slides?|pp?\.(?!\w*[a-z])|pp?(?=\s+\d)|seiten?|(?<![\w.])s\.(?=\s*\d)|p[áa]ginas?|p[áa]gs?\.|blz\.?)"
_WORD = "|".join(sorted(_NUMBERS, key=len, reverse=True))
_ROMAN = r"(?=[ivxlc])(?:c{0,2})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})"
_PRINTED = r"[a-z]{1,2}[-.]?\d{1,4}|\d{1,4}[a-z]"  # A-3, B12, 12a
_NAME = rf"(?:(?:{_PRINTED}|\d{{1,5}}|{_WORD}|{_ROMAN})\b)"
_JOIN = r"\s*(?:-|–|\bto\b|\bthrough\b|\bbis\b|,?\s*\b(?:and|und|or|et|y)\b|,|&)?\s*"
_LIST = re.compile(
    rf"\b(?P<unit>{_UNIT})\s*\(?(?:no\.?|number|nr\.?)?\s*(?P<names>{_NAME}(?:{_JOIN}(?:{_UNIT}\s*)?{_NAME})*)", re.IGNORECASE
)
_NEXT = re.compile(rf"(?P<join>{_JOIN})(?P<unit>{_UNIT}\s*)?(?P<name>{_NAME})", re.IGNORECASE)
_TO = re.compile(r"-|–|to|through|bis", re.IGNORECASE)

_FRONT = re.compile(r"\b(?:cover|title|front)\s+(?:page|slide)\b|\bcover of\b|\btitelseite\b", re.IGNORECASE)
_BACK = re.compile(r"\bback\s+(?:cover|page)\b", re.IGNORECASE)
_NTH_PAGE = re.compile(rf"\b(?:({'|'.join(_ORDINALS)})|(\d{{1,4}})(?:st|nd|rd|th))\s+(?:page|slide)\b", re.IGNORECASE)
_SOME = re.compile(rf"\b(first|last|final)\s+(\d{{1,2}}|{_WORD})\s+(?:pages|slides)\b", re.IGNORECASE)
_BEFORE_LAST = re.compile(
    r"\b(?:second[\s-]+(?:to[\s-]+)?last|last\s+but\s+one|next[\s-]+to[\s-]+(?:the[\s-]+)?last|penultimate)\s+(?:page|slide)\b"
    r"|\b(?:page|slide)\s+(?:at\s+the\s+second\s+last|before\s+the\s+last)\b",
    re.IGNORECASE,
)
_LAST = re.compile(r"(?<!second )(?<!second-)(?<!to )\b(?:last|final|letzten?)\s+(?:page|slide|seite)\b", re.IGNORECASE)

_FILE = re.compile(r"[\"“'‘]([^\"”'’]+\.[a-z0-9]{2,4})[\"”'’]|(?<![\w/])(\S+\.(?:pdf|tiff?|docx?|pptx?|djvu|epub))\b", re.IGNORECASE)
_OF = re.compile(
    r"\)?\s*,?\s*(?:of|in|from|aus|von)\s+(?:the\s+)?(?:(?:file|document)\s+)?(?:[\"“'‘]([^\"”'’]+)[\"”'’]|([\w./-]*\w))", re.IGNORECASE
)
_ASKING = """
a an the of on in at is are was were be do does did can could would you me i we us it this that there and or to for with from by
what which who how where whats what's say says said saying stand stands stood stated state read reads show shows shown
contain contains content contents text written write see seen find found tell give about describe summarise summarize summary quote
open please look like exactly word words all any everything document file report paper slides slide pages page no number
printed numbered labelled
was steht auf der die das im von aus seite seiten inhalt que dit la le il y a sur à qu est quoi contient qué dice en hay el cosa
nella su wat staat er op
"""
_BARE = frozenset(_ASKING.split())
_TOKEN = re.compile(r"[^\W_][\w'’.-]*\w|[^\W_]")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mention:
    """A place where a text names pages."""

    start: int
    stop: int
    numbers: frozenset[int] = frozenset()
    labels: frozenset[str] = frozenset()
    from_end: frozenset[int] = frozenset()


def names_in(text: str) -> PageNames:
    """What `pages_named` says of a text in which the word for a page stands."""
    mentions = _mentions(text)
    if not mentions:
        return PageNames()
    document, span = _document(text, mentions)
    return PageNames(
        numbers=frozenset().union(*(mention.numbers for mention in mentions)),
        labels=frozenset().union(*(mention.labels for mention in mentions)),
        from_end=frozenset().union(*(mention.from_end for mention in mentions)),
        document=document,
        alone=_is_bare(text, [*((mention.start, mention.stop) for mention in mentions), span]),
    )


def _mentions(text: str) -> list[_Mention]:
    return [*_by_name(text), *_by_order(text), *_from_end(text)]


def _by_name(text: str) -> Iterator[_Mention]:
    """ "page 7", "pages 3 to 6", "page iv", "p. A-3"."""
    for match in _LIST.finditer(text):
        numbers: set[int] = set()
        labels: set[str] = set()
        before = ""
        stop = match.start("names")
        for part in _NEXT.finditer(text, match.start("names"), match.end("names")):
            plural = match["unit"].casefold().rstrip(".").endswith(("s", "en", "pp"))
            name = part["name"].casefold()
            if before and not (part["join"].strip(" ,") or part["unit"] or (plural and "," in part["join"])):
                break
            if part["name"] == "I" and _TOKEN.match(text[part.end() :].lstrip(" ")):  # "the page I wrote"
                break
            more = _stretch(before, name) if before and _TO.search(part["join"]) else {name}
            numbers |= {number for number in map(_number, more) if number}
            labels |= {str(_number(label) or label) for label in more}
            labels |= {f"{before}-{name}"} if part["join"] == "-" and (before + name).isdecimal() else set()  # chapter 3, page 12
            before, stop = name, part.end()
        if labels:
            yield _Mention(start=match.start(), stop=stop, numbers=frozenset(numbers), labels=frozenset(labels))


def _number(name: str) -> int:
    """The number of a name in digits or words; 0 for what is only printed."""
    return int(name) if name.isdecimal() else _NUMBERS.get(name, 0)


def _stretch(first: str, last: str) -> set[str]:
    """The names from one to the other; these two alone where that is no stretch of at most `_MOST` pages."""
    low, high = _number(first), _number(last)
    if low and low <= high < low + _MOST:
        return {str(number) for number in range(low, high + 1)}
    if not low and not high and _value(first) and _value(first) <= _value(last) < _value(first) + _MOST:
        return {_roman(number) for number in range(_value(first), _value(last) + 1)}
    return {first, last}


def _value(roman: str) -> int:
    """The number of a Roman numeral below 300; 0 for anything else."""
    values = [_ROMANS.get(letter, 0) for letter in roman]
    if not all(values):
        return 0
    return sum(-value if value < max(values[place:]) else value for place, value in enumerate(values))


def _roman(number: int) -> str:
    """A number below 300 in Roman numerals.

    >>> [_roman(number) for number in (4, 19, 88)], _value("lxxxviii")
    (['iv', 'xix', 'lxxxviii'], 88)
    """
    text = ""
    for value, letters in ((100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")):
        text += letters * (number // value)
        number %= value
    return text


def _by_order(text: str) -> Iterator[_Mention]:
    """ "the first page", "7th slide", "cover page", "the first two pages"."""
    for match in _FRONT.finditer(text):
        yield _Mention(start=match.start(), stop=match.end(), numbers=frozenset({1}))
    for match in _NTH_PAGE.finditer(text):
        number = int(match[2]) if match[2] else _ORDINALS[match[1].casefold()]
        yield _Mention(start=match.start(), stop=match.end(), numbers=frozenset({number} - {0}))
    for match in _SOME.finditer(text):
        if match[1].casefold() == "first":
            count = min(_number(match[2].casefold()), _MOST)
            yield _Mention(start=match.start(), stop=match.end(), numbers=frozenset(range(1, count + 1)))


def _from_end(text: str) -> Iterator[_Mention]:
    """ "the last page", "the last two pages", "second last page", "back cover"."""
    for pattern, place in ((_LAST, 0), (_BACK, 0), (_BEFORE_LAST, 1)):
        for match in pattern.finditer(text):
            yield _Mention(start=match.start(), stop=match.end(), from_end=frozenset({place}))
    for match in _SOME.finditer(text):
        if match[1].casefold() != "first":
            count = min(_number(match[2].casefold()), _MOST)
            yield _Mention(start=match.start(), stop=match.end(), from_end=frozenset(range(count)))


def _document(text: str, mentions: list[_Mention]) -> tuple[str, tuple[int, int]]:
    """The name of the document that is meant, and where it stands: a file name, else what follows "of" behind a page."""
    if match := _FILE.search(text):
        return (match[1] or match[2]).casefold(), match.span()
    for mention in mentions:
        if match := _OF.match(text, mention.stop):
            return (match[1] or match[2]).casefold(), match.span()
    return "", (0, 0)


def _is_bare(text: str, spans: list[tuple[int, int]]) -> bool:
    """Whether nothing but words of asking stands outside these spans."""
    return all(token.casefold().replace("’", "'") in _BARE for token in _TOKEN.findall(_blanked(text, spans)))


def _blanked(text: str, spans: list[tuple[int, int]]) -> str:
    letters = list(text)
    for start, stop in spans:
        letters[start:stop] = " " * (stop - start)
    return "".join(letters)
