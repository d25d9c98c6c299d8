"""The words of one page of a PDF: its text layer, and what was filled into its form.

Every call holds the lock of `pdf.py`. Cost: 3 to 4 ms a page, as bare pdfium, which keeps some 130 bytes for each letter of a page
while it is read; hence the limits.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pypdfium2.raw as pdfium

from mmrerank.readers._pdf_forms import filled_in, with_values

MOST_CHARACTERS = 1_000_000  # of a text layer, as of OCR; a page in small print has 10,000
MOST_PIECES = 100_000  # of text on a page; a dense map has some thousands
_TURNED = 0.2  # share of the letters
_SAMPLES = 256
_BROKEN_WORD = re.compile(r"(?<=\w)[\x02\ufffe](?=\w)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")


def words_of(page: Any, document: Any) -> tuple[str, str]:
    """The text of a page, "" where it has none, and a note where a part of it is left out.

    Raises:
        PdfiumError: pdfium cannot read it.
    """
    if _is_in_too_many_pieces(page.raw):
        return "", f"the text layer is in more than {MOST_PIECES:,} pieces and was left out"
    text_page = page.get_textpage()
    try:
        text, note = _layer(text_page)
        fields = [(_clean(label), _clean(value)) for label, value in filled_in(page, text_page, document.formenv)]
        return with_values(_clean(text), fields) if fields else _clean(text), note
    finally:
        text_page.close()


def _layer(text_page: Any) -> tuple[str, str]:
    count = text_page.count_chars()
    if count > MOST_CHARACTERS:
        note = f"the text layer has {count:,} characters, of which the first {MOST_CHARACTERS:,} were read"
        return text_page.get_text_range(0, MOST_CHARACTERS), note
    return (text_page.get_text_range() if _is_turned(text_page.raw, count) else text_page.get_text_bounded()), ""


def _is_turned(text: Any, count: int) -> bool:
    """Whether much of the page runs upwards or downwards, as a table printed sideways does.

    The bounded call of pdfium tells lines apart by the height at which they begin, so it joins those of such a text; the other call
    keeps them, but it also breaks ordinary lines at small raised letters.
    """
    places = range(0, count, max(1, count // _SAMPLES))
    angles: list[float] = [pdfium.FPDFText_GetCharAngle(text, n) for n in places]  # radians; -1 where there is none
    return sum(angle >= 0 and abs(math.sin(angle)) > 0.7 for angle in angles) > _TURNED * len(places)


def _is_in_too_many_pieces(page: Any) -> bool:
    """Whether the letters of a page should not even be counted; known once the page is parsed, which takes a sixth of the memory."""
    count: int = pdfium.FPDFPage_CountObjects(page)
    if count <= MOST_PIECES:
        return False
    kinds: list[int] = [pdfium.FPDFPageObj_GetType(pdfium.FPDFPage_GetObject(page, n)) for n in range(count)]
    return kinds.count(pdfium.FPDF_PAGEOBJ_TEXT) > MOST_PIECES


def _clean(text: str) -> str:
    """The text with "\\n" line ends and without control characters; a word broken at a line end stays broken, by "-\\n".

    pdfium writes such a break as U+0002; fonts without a proper encoding give other control characters, which say nothing.

    >>> _clean("candi\\x02date\\r\\nspans \\x07 here")
    'candi-\\ndate\\nspans   here'
    """
    text = _BROKEN_WORD.sub("-\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub(" ", text).strip()
