"""Where words stand on a page of a PDF."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any, TypeAlias

import pypdfium2.raw as pdfium

from mmrerank.readers import pdf

Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom as shares of the page's width and height


def boxes(path: Path, page_number: int, words: str) -> list[Box]:
    """The rectangles, one a line, around the first place where the page says `words`; spacing and case do not matter.

    Returns:
        Empty when the page does not say them.

    Raises:
        FormatError: the file cannot be opened or has no such page.
    """
    with pdf._LOCK:
        page = pdf._page(pdf._DOCUMENTS.get(path), page_number, path)
        try:
            text = page.get_textpage()
            try:
                first, count = _place(text.raw, words)
                return [_share(page.raw, box) for box in _rectangles(text.raw, first, count)] if count else []
            finally:
                text.close()
        finally:
            page.close()


def _place(text: Any, words: str) -> tuple[int, int]:
    """First character and number of characters of the words; (0, 0) when they are not there."""
    letters: list[str] = []
    places: list[int] = []
    for n in range(pdfium.FPDFText_CountChars(text)):
        letter = chr(pdfium.FPDFText_GetUnicode(text, n) or 32).lower()
        if letter.isalnum():
            letters.append(letter[0])
            places.append(n)
    phrase = "".join(letter.lower()[0] for letter in words if letter.isalnum())
    start = "".join(letters).find(phrase) if phrase else -1
    if start < 0:
        return 0, 0
    return places[start], places[start + len(phrase) - 1] - places[start] + 1


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
