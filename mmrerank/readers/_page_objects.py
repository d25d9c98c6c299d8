"""What a PDF page is made of: how much of it is pictures and drawing, and text that pdfium would pass over.

Every call holds the lock of `pdf.py`. Cost: some 3 µs for each object of a page, so it is asked only where a page has few letters.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

_DEEPEST = 3  # forms within forms: stamping tools put the page that they stamp into one
_MOST_OBJECTS = 20_000  # of a page, or of a form on it
_SAMPLES = 32
_NARROW = 0.01  # points; text that is no wider pdfium leaves out


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """What is to be seen on a page beside its text layer."""

    picture_share: float = 0.0  # of the page's area: the largest picture on it, 0..1
    has_drawings: bool = False  # lines or shapes, in enough pieces to be letters in outlines


def surface_of(page: Any) -> Surface:
    """What else the page shows."""
    left, bottom, right, top = page.get_bbox()
    area, largest, paths = max((right - left) * (top - bottom), 1e-6), 0.0, 0
    for kind, outermost, _ in _objects(page.raw):
        if kind == pdfium.FPDF_PAGEOBJ_IMAGE:
            a, b, c, d = _bounds(outermost)  # of a picture in a form, the form's: its own are in another system
            width, height = min(right, c) - max(left, a), min(top, d) - max(bottom, b)
            largest = max(largest, max(0.0, width) * max(0.0, height) / area)
        paths += kind in (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING)
    return Surface(picture_share=min(1.0, largest), has_drawings=paths >= 20)


def widen_lone_letters(page: Any) -> bool:
    """Gives width to pieces of text that have none, before the text page is made of it; True where there were any.

    A single letter of a font that is neither embedded nor installed (one letter a string is how OCR programs write Chinese) has no
    outline, so no width, and pdfium's text page skips it. As stroked text it is as wide as its stroke. The page in memory alone is
    changed, and it is closed after its text was read. Where a sample of the page has none, the rest is not looked at.
    """
    if not any(_is_lone(one) for kind, _, one in _objects(page.raw, _SAMPLES) if kind == pdfium.FPDF_PAGEOBJ_TEXT):
        return False
    for kind, _, one in _objects(page.raw):
        if kind == pdfium.FPDF_PAGEOBJ_TEXT and _is_lone(one):
            pdfium.FPDFTextObj_SetTextRenderMode(one, pdfium.FPDF_TEXTRENDERMODE_STROKE)
            pdfium.FPDFPageObj_SetStrokeWidth(one, 1.0)
            pdfium.FPDFPageObj_Transform(one, 1, 0, 0, 1, 0, 0)  # only now its bounds are reckoned anew
    return True


def _is_lone(text: Any) -> bool:
    left, _, right, _ = _bounds(text)
    return right - left < _NARROW and not _is_embedded(text)


def _is_embedded(text: Any) -> bool:
    font = pdfium.FPDFTextObj_GetFont(text)
    return bool(font) and pdfium.FPDFFont_GetIsEmbedded(font) == 1


def _objects(page: Any, most: int = _MOST_OBJECTS) -> Iterator[tuple[int, Any, Any]]:
    """(kind, the object of the page that it lies in, itself) of what is on the page, forms opened; of much, `most` spread over it."""
    for outermost in _spread(lambda n: pdfium.FPDFPage_GetObject(page, n), pdfium.FPDFPage_CountObjects(page), most):
        yield from ((kind, outermost, one) for kind, one in _inside(outermost, _DEEPEST, most))


def _inside(one: Any, depth: int, most: int) -> Iterator[tuple[int, Any]]:
    kind = pdfium.FPDFPageObj_GetType(one)
    if kind != pdfium.FPDF_PAGEOBJ_FORM:
        yield kind, one
    elif depth:
        for inner in _spread(lambda n: pdfium.FPDFFormObj_GetObject(one, n), pdfium.FPDFFormObj_CountObjects(one), most):
            yield from _inside(inner, depth - 1, most)


def _spread(get: Callable[[int], Any], count: int, most: int) -> Iterator[Any]:
    return (get(n) for n in range(0, count, max(1, -(-count // most))))


def _bounds(one: Any) -> tuple[float, float, float, float]:
    """Left, bottom, right, top in points; all 0 where there are none."""
    sides = [ctypes.c_float() for _ in range(4)]
    pdfium.FPDFPageObj_GetBounds(one, *(ctypes.byref(side) for side in sides))
    return sides[0].value, sides[1].value, sides[2].value, sides[3].value
