"""The letters of a text page in the order in which they are read, where pdfium's own order is not that.

- Two or more columns whose lines are written row by row, as converters and OCR layers write them, are read down. What looks like a
  table (short cells, numbers) keeps its rows.
- Letters drawn twice, a hair apart, to look bold count once.
- Ligatures of right-to-left scripts, one glyph for several letters, come out turned round; they are turned back.

pdfium is asked letter by letter only where the rectangles of its text say that one of these may be the case.
Cost: 2 µs for each rectangle, of which some 200 are looked at; some 10 µs a letter of the pages that are gone through.
"""

from __future__ import annotations

import ctypes
import re
import statistics
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, TypeAlias

import pypdfium2.raw as pdfium

_MOST_LETTERS = 50_000  # of a page that is gone through letter by letter
_STRETCH = 72  # pieces of text that are looked at together
_GUTTER = 1.1  # times the height of the letters: at least so far apart are columns
_ROWS = 4  # so many lines have to stand beside one another
_PROSE_LETTERS, _PROSE_WORDS = 14, 3  # the middle line of a column has at least so many, else it is a table's
_DIGITS = 0.2  # the largest share of them in prose
_ON_TOP = 0.2  # of a letter's width: cells of that size tell whether two lie on one another
_WIDE = 6  # times the height of the letters: a piece of prose is no narrower
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")

_LIGATURES = frozenset(unicodedata.normalize("NFKC", chr(code)) for code in [*range(0xFB50, 0xFE00), *range(0xFE70, 0xFEFD)])
_Rectangle: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom in points of the page


@dataclass(frozen=True, slots=True)
class _Letter:
    text: str
    left: float  # points of the page, from its lower left corner; all 0 where pdfium put it between others
    bottom: float
    right: float
    top: float
    x: float  # where the glyph begins on the line

    @property
    def is_drawn(self) -> bool:
        return self.right > self.left or self.top > self.bottom


@dataclass(frozen=True, slots=True)
class _Line:
    """Letters of one column on one line."""

    text: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        return self.top - self.bottom


def in_reading_order(text_page: Any, text: str) -> str:
    """The text of the page as it is read; as it came where nothing speaks against it."""
    count = text_page.count_chars()
    rightwards = _RIGHT_TO_LEFT.search(text) is not None
    rectangles = _rectangles(text_page.raw) if 2 * _ROWS < count <= _MOST_LETTERS else []
    across, twice = _is_read_across(rectangles), _is_drawn_twice(rectangles)
    if count > _MOST_LETTERS or not (rightwards or across or twice):
        return text
    letters = list(_letters(text_page.raw, count))
    if twice:
        letters, text = _once(letters, text)
    if rightwards:
        letters, text = _ligatures_turned(letters, text)
    return (_down(letters) or text) if across else text


# ---------------------------------------------------------------- what pdfium says


def _rectangles(text: Any) -> list[_Rectangle]:
    """Pieces of text, in the order in which they are written."""
    count = pdfium.FPDFText_CountRects(text, 0, -1)
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    references = [ctypes.byref(side) for side in (left, top, right, bottom)]
    rectangles = []
    for n in _sample(count):
        pdfium.FPDFText_GetRect(text, n, *references)
        rectangles.append((left.value, top.value, right.value, bottom.value))
    return rectangles


def _sample(count: int) -> Iterator[int]:
    """All of few; of many three stretches, each some lines of a page whose every word is a piece."""
    stretches = range(count // 8, count, count // 3) if count > 3 * _STRETCH else range(0, count, _STRETCH)
    return (n for begin in stretches for n in range(begin, min(begin + _STRETCH, count)))


def _letters(text: Any, count: int) -> Iterator[_Letter]:
    box, x, y = pdfium.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    for n in range(count):
        letter = chr(pdfium.FPDFText_GetUnicode(text, n))
        if pdfium.FPDFText_IsGenerated(text, n) == 1 or not pdfium.FPDFText_GetLooseCharBox(text, n, box):
            yield _Letter(letter, 0, 0, 0, 0, 0)
        else:
            pdfium.FPDFText_GetCharOrigin(text, n, x, y)
            yield _Letter(letter, box.left, box.bottom, box.right, box.top, x.value)


# ---------------------------------------------------------------- columns


def _is_read_across(rectangles: Sequence[_Rectangle]) -> bool:
    """Whether often enough a wide piece is followed by another wide one on its line, beyond a gutter: columns, or a table of sentences."""
    beginnings = [
        after[0]
        for before, after in pairwise(_rows(rectangles))
        if after[0] - before[2] > 0.5 * (height := before[1] - before[3])
        and after[3] < before[1] - 0.2 * height
        and before[3] < after[1] - 0.2 * height
        and min(before[2] - before[0], after[2] - after[0]) > _WIDE * height
    ]
    places = sorted(beginnings)
    return any(last - first <= 6 for first, last in zip(places, places[_ROWS - 1 :], strict=False))


def _rows(rectangles: Sequence[_Rectangle]) -> Iterator[_Rectangle]:
    """The rectangles, those that follow closely on one line joined."""
    left, top, right, bottom = rectangles[0] if rectangles else (0.0, 0.0, 0.0, 0.0)
    for a, b, c, d in rectangles[1:]:
        height = max(top - bottom, 1.0)
        if -2 * height < a - right < _GUTTER * height and d < top - 0.3 * height and bottom < b - 0.3 * height:
            left, top, right, bottom = min(left, a), max(top, b), max(right, c), min(bottom, d)
        else:
            yield left, top, right, bottom
            left, top, right, bottom = a, b, c, d
    yield left, top, right, bottom


def _down(letters: Sequence[_Letter]) -> str:
    """The lines with columns of prose read down, "" where there are none."""
    lines = list(_lines(letters))
    gutters = _gutters(lines)
    if not gutters:
        return ""
    texts: list[str] = []
    for spans, group in groupby(lines, key=lambda line: _column(line, gutters) is None):
        zone = list(group)
        texts += [line.text for line in zone] if spans else _columns(zone, gutters)
    return "\n".join(texts)


def _lines(letters: Sequence[_Letter]) -> Iterator[_Line]:
    """The letters cut at line ends and where a gutter or a step back parts them."""
    line: list[_Letter] = []
    last: _Letter | None = None
    for letter in letters:
        if letter.is_drawn and not letter.text.isspace():
            if last is not None and line and _is_parted(last, letter):
                yield from _as_line(line)
                line = []
            last = letter
        line.append(letter)
    yield from _as_line(line)


def _is_parted(before: _Letter, after: _Letter) -> bool:
    height = max(before.top - before.bottom, 1.0)
    same_row = after.bottom < before.top - 0.3 * height and before.bottom + 0.3 * height < after.top
    return not same_row or not -2 * height < after.left - before.right < _GUTTER * height


def _as_line(letters: Sequence[_Letter]) -> Iterator[_Line]:
    drawn = [letter for letter in letters if letter.is_drawn]
    text = "".join(letter.text for letter in letters).replace("\r", "").strip()
    if drawn and text:
        top, bottom = statistics.median(one.top for one in drawn), statistics.median(one.bottom for one in drawn)
        yield _Line(text, min(one.left for one in drawn), bottom, max(one.right for one in drawn), top)


def _gutters(lines: Sequence[_Line]) -> list[float]:
    """Where columns of prose begin that lines are followed by on their own row, from left to right."""
    beginnings = sorted(after.left for before, after in pairwise(lines) if _is_beside(before, after))
    gutters: list[float] = []
    for x in beginnings:
        near = [other for other in beginnings if abs(other - x) <= 6]
        if len(near) >= _ROWS and (not gutters or min(near) - gutters[-1] > 24):
            gutters.append(min(near))
    return gutters if gutters and _is_prose(lines, gutters) else []


def _is_beside(before: _Line, after: _Line) -> bool:
    overlap = min(before.top, after.top) - max(before.bottom, after.bottom)
    return after.left - before.right > 0.5 * before.height and overlap > 0.2 * min(before.height, after.height)


def _is_prose(lines: Sequence[_Line], gutters: Sequence[float]) -> bool:
    """Whether every column is lines of words, and most of their sentences go on in the next line."""
    columns: dict[int, list[str]] = {}
    rows = [(_column(line, gutters), line) for line in lines]
    for column, line in rows:
        if column is not None:
            columns.setdefault(column, []).append(line.text)
    return len(columns) > len(gutters) and all(_reads_on(texts) for texts in columns.values())


def _reads_on(texts: Sequence[str]) -> bool:
    letters = "".join(texts)
    words = statistics.median(len(text.split()) for text in texts)
    size = statistics.median(len(text) for text in texts)
    unspaced = sum(ord(letter) > 0x2E7F for letter in letters) > 0.5 * len(letters)
    if len(texts) < _ROWS or size < (_PROSE_LETTERS if not unspaced else _PROSE_LETTERS / 2) or (words < _PROSE_WORDS and not unspaced):
        return False
    if sum(letter.isdecimal() for letter in letters) > _DIGITS * len(letters):
        return False
    going_on = [after[0].islower() or not after[0].isupper() for before, after in pairwise(texts) if before[-1] not in ".!?:;。！？"]
    return unspaced or (len(going_on) * 3 >= len(texts) and sum(going_on) * 2 >= len(going_on))


def _column(line: _Line, gutters: Sequence[float]) -> int | None:
    """In which column the line stands, from 0; None where it runs over a gutter."""
    column = sum(gutter <= line.left + 6 for gutter in gutters)
    return None if column < len(gutters) and line.right > gutters[column] - 2 else column


def _columns(lines: Sequence[_Line], gutters: Sequence[float]) -> list[str]:
    return [line.text for column in range(len(gutters) + 1) for line in lines if _column(line, gutters) == column]


# ---------------------------------------------------------------- letters drawn twice, ligatures


def _is_drawn_twice(rectangles: Sequence[_Rectangle]) -> bool:
    """Whether two pieces of text lie on one another, as far as neighbours from left to right say."""
    ordered = sorted((round(bottom / 2), left, top, right, bottom) for left, top, right, bottom in rectangles if right - left > 1)
    return any(
        after[1] - before[1] < 0.2 * (before[3] - before[1]) and abs(after[3] - before[3]) < 0.2 * (before[3] - before[1])
        for before, after in pairwise(ordered)
        if before[0] == after[0]
    )


def _once(letters: Sequence[_Letter], text: str) -> tuple[list[_Letter], str]:
    """The letters without those that lie on an equal one, and the text of them."""
    places: set[tuple[str, int, int]] = set()
    single: list[_Letter] = []
    for letter in letters:
        if letter.is_drawn and not letter.text.isspace():
            size = _ON_TOP * max(letter.right - letter.left, 2.0)
            x, y = int(letter.x / size), int(letter.bottom / size)
            if any((letter.text, x + dx, y + dy) in places for dx in (-1, 0, 1) for dy in (-1, 0, 1)):
                continue
            places.add((letter.text, x, y))
        single.append(letter)
    return single, _text_of(single) if len(single) < len(letters) else text


def _text_of(letters: Sequence[_Letter]) -> str:
    text = "".join(letter.text for letter in letters).replace("\r\n", "\n")
    return re.sub(r"\n[ \n]*\n", "\n", re.sub(r"(?<=\S) {2,}(?=\S)", " ", text))


def _ligatures_turned(letters: list[_Letter], text: str) -> tuple[list[_Letter], str]:
    """The letters with those of one glyph turned round within right-to-left words, and the text with them in its spacing."""
    turned = [one for _, group in groupby(letters, key=_glyph) for one in _turned(list(group))]
    before = "".join(letter.text for letter in letters if not letter.text.isspace())
    if before != "".join(text.split()):
        return turned, text if turned == letters else _text_of(turned)
    order = iter("".join(letter.text for letter in turned if not letter.text.isspace()))
    return turned, "".join(letter if letter.isspace() else next(order) for letter in text)


def _glyph(letter: _Letter) -> tuple[float, float, float, float, bool]:
    return letter.x, letter.left, letter.right, letter.bottom, letter.is_drawn


def _turned(letters: list[_Letter]) -> list[_Letter]:
    """The letters of one glyph in the order in which they are read.

    pdfium turns round what a font's map gives for a glyph, not what it takes apart itself, the single characters for ligatures.
    """
    text = "".join(letter.text for letter in letters)
    is_ligature = len(letters) > 1 and letters[0].is_drawn and all(_RIGHT_TO_LEFT.match(letter.text) for letter in letters)
    is_in_order = text in _LIGATURES and text[::-1] not in _LIGATURES
    return letters[::-1] if is_ligature and not is_in_order else letters
