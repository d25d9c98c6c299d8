"""Where words stand on a page of a PDF."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pypdfium2.raw as pdfium

from mmrerank.readers import pdf
from mmrerank.readers._page_objects import widen_lone_letters

Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom as shares of the page's width and height
_PIECE = 3  # words: a shorter piece may stand anywhere


def boxes(path: Path, page_number: int, words: str) -> list[Box]:
    """The rectangles, one a line, around the first place where the page says `words`; spacing, hyphens and case do not matter.

    Words that the page sets in several places, as a sentence that goes over to the next column, have the rectangles of their pieces.

    Returns:
        Empty when the page does not say them.

    Raises:
        FormatError: the file cannot be opened or has no such page.
    """
    with pdf._LOCK:
        page = pdf._page(pdf._DOCUMENTS.get(path), page_number, path)
        try:
            widen_lone_letters(page)
            text = page.get_textpage()
            try:
                places = _Letters(text.raw).places(words.split())
                return [_share(page.raw, box) for first, count in places for box in _rectangles(text.raw, first, count)]
            finally:
                text.close()
        finally:
            page.close()


class _Letters:
    """The letters of a text page in small, without what stands between them, and where each of them is."""

    def __init__(self, text: Any) -> None:
        letters = ((n, chr(pdfium.FPDFText_GetUnicode(text, n) or 32).lower()) for n in range(pdfium.FPDFText_CountChars(text)))
        places = [(n, letter[0]) for n, letter in letters if letter.isalnum()]
        self._letters = "".join(letter for _, letter in places)
        self._places = [n for n, _ in places]

    def places(self, words: Sequence[str]) -> list[tuple[int, int]]:
        """First character and number of characters of the words or their pieces; empty where less than half is there."""
        pieces = list(self._pieces(words))
        covered = sum(len(piece) for piece, _, _ in pieces)
        return [(first, count) for _, first, count in pieces] if 2 * covered >= len(_letters_of(words)) else []

    def _pieces(self, words: Sequence[str]) -> Iterator[tuple[str, int, int]]:
        """The words, cut where the page does not say them in one."""
        phrase = _letters_of(words)
        start = self._letters.find(phrase) if phrase else -1
        if start >= 0:
            yield phrase, self._places[start], self._places[start + len(phrase) - 1] - self._places[start] + 1
        elif len(words) >= 2 * _PIECE:
            longest = next((n for n in range(len(words) - 1, _PIECE - 1, -1) if _letters_of(words[:n]) in self._letters), len(words) // 2)
            yield from self._pieces(words[:longest])
            yield from self._pieces(words[longest:])


def _letters_of(words: Sequence[str]) -> str:
    return "".join(letter.lower()[0] for word in words for letter in word if letter.isalnum())


def _rectangles(text: Any, first: int, count: int) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom in points of the page, from its lower left corner."""
    rectangles = []
    for n in range(pdfium.FPDFText_CountRects(text, first, count)):
        sides = [ctypes.c_double() for _ in range(4)]
        pdfium.FPDFText_GetRect(text, n, *(ctypes.byref(side) for side in sides))
        rectangles.append((sides[0].value, sides[1].value, sides[2].value, sides[3].value))
    return rectangles


def _share(page: Any, box: tuple[float, float, float, float], scale: int = 10_000) -> Box:
    """The box as pdfium would draw it, rotation and crop included."""
    corners = []
    for x, y in ((box[0], box[1]), (box[2], box[3])):
        left, top = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDF_PageToDevice(page, 0, 0, scale, scale, 0, x, y, ctypes.byref(left), ctypes.byref(top))
        corners.append((left.value / scale, top.value / scale))
    (a, b), (c, d) = corners
    return min(a, c), min(b, d), max(a, c), max(b, d)
