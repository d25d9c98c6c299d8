"""The words of one page of a PDF: its text layer, what was filled into its form, and what was written onto it; and whether they will do.

Every call holds the lock of `pdf.py`. Cost: 4 to 5 ms a page, 3 to 4 of them bare pdfium, which keeps some 130 bytes for each letter
of a page while it is read; hence the limits.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

from mmrerank.readers._legible import is_meaningless
from mmrerank.readers._ocr import MEANINGLESS, NO_LAYER
from mmrerank.readers._page_objects import Surface, surface_of, widen_lone_letters
from mmrerank.readers._pdf_annotations import annotations_of
from mmrerank.readers._pdf_forms import filled_in, with_values
from mmrerank.readers._reading_order import in_reading_order

MOST_CHARACTERS = 1_000_000  # of a text layer, as of OCR; a page in small print has 10,000
MOST_PIECES = 100_000  # of text on a page; a dense map has some thousands
_MARGIN = 0.1  # of a page's height: head and foot stand within it
_FEW_CHARACTERS = 1000  # of a page whose pictures are looked at
_LARGE_PICTURE, _FEW_LETTERS = 0.5, 400  # share of the page; so few letters leave most of such a picture unsaid
_PICTURE, _FEWEST_LETTERS = 0.1, 12  # a page that has no more than that has no text of its own
_TURNED = 0.2  # share of the letters
_SAMPLES = 256
_BROKEN_WORD = re.compile(r"(?<=\w)[\x02\ufffe](?=\w)")
_ACCENTS = {"\u00b4": "\u0301", "\u00a8": "\u0308", "\u02c6": "\u0302", "\u02dc": "\u0303", "\u02c7": "\u030c"}
_ACCENT = re.compile("(\u00b4)([aeiouyAEIOUY])|([\u00a8\u02c6\u02dc\u02c7])([A-Za-z])")  # as TeX sets them: before the letter
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What a page says by itself, before anything is known of its neighbours."""

    text: str = ""  # words broken at line ends still broken
    note: str = ""  # where a part is left out, why
    edges: tuple[str, ...] = ()  # the lines of `text` that stand within the upper and lower margin
    additions: tuple[str, ...] = ()  # what notes and comments say, which no line of the page says
    attached: tuple[str, ...] = ()  # names of files pinned to the page
    label: str = ""  # as the document numbers its pages
    surface: Surface | None = None  # what else there is to be seen; of pages with few letters only


def words_of(page: Any, document: Any) -> Layer:
    """The words of a page: its text layer, with values and typed words behind their labels, and its comments.

    Raises:
        PdfiumError: pdfium cannot read it.
    """
    if _is_in_too_many_pieces(page.raw):
        return Layer(note=f"the text layer is in more than {MOST_PIECES:,} pieces and was left out")
    text_page = page.get_textpage()
    try:
        if widen_lone_letters(page):
            text_page.close()
            text_page = page.get_textpage()
        return _read(page, text_page, document)
    finally:
        text_page.close()


def _read(page: Any, text_page: Any, document: Any) -> Layer:
    text, note = _layer(text_page)
    text = _clean(text)
    edges = _edges(page, text_page, text)
    annotations = annotations_of(page)
    fields = [(_clean(label), _clean(value)) for label, value in filled_in(page, text_page, document.formenv, annotations.typed)]
    text = with_values(text, [field for field in fields if field[0] or not _says(text, field[1])]) if fields else text
    additions = [_clean(comment) for comment in annotations.comments]
    return Layer(
        text=text,
        note=note,
        edges=edges,
        additions=tuple(addition for addition in additions if addition and not _says(text, addition)),
        attached=annotations.attached,
        surface=surface_of(page) if len(text) < _FEW_CHARACTERS else None,
    )


def _says(text: str, words: str) -> bool:
    """Whether the text has the words already, as where the comment on a marked passage is the passage."""
    return " ".join(words.split()) in " ".join(text.split())


def _edges(page: Any, text_page: Any, text: str) -> tuple[str, ...]:
    """The lines of the text within the upper and lower tenth of the page as it is shown."""
    left, bottom, right, top = page.get_bbox()
    if pdfium.FPDFPage_GetRotation(page.raw) % 2:
        width = (right - left) * _MARGIN
        strips = [(left, bottom, left + width, top), (right - width, bottom, right, top)]
    else:
        height = (top - bottom) * _MARGIN
        strips = [(left, top - height, right, top), (left, bottom, right, bottom + height)]
    lines = [line.strip() for strip in strips for line in _clean(text_page.get_text_bounded(*strip)).split("\n")]
    own = {line.strip() for line in text.split("\n")}
    return tuple(dict.fromkeys(line for line in lines if line and line in own))


def without_running_lines(text: str, running: Sequence[str]) -> str:
    """The text without these lines: of each, the one nearest to the beginning or the end goes.

    >>> without_running_lines("Ferries\\nFerries leave at six.\\nPage 1", ["Ferries", "Page 1"])
    'Ferries leave at six.'
    """
    lines = text.split("\n")
    for line in running:
        places = [n for n, other in enumerate(lines) if other.strip() == line]
        if places:
            del lines[min(places, key=lambda n: min(n, len(lines) - 1 - n))]
    return "\n".join(lines).strip()


def why_unread(layer: Layer, body: str) -> str:
    """Why the words of a page cannot be had from its text layer; "" where they can.

    Args:
        body: its text without running lines.
    """
    if layer.note:
        return ""
    if not layer.text:
        return NO_LAYER
    if is_meaningless(layer.text):
        return MEANINGLESS
    surface = layer.surface
    if surface is None:  # there was too much text to look
        return ""
    letters = sum(letter.isalnum() for letter in body)
    if surface.picture_share >= _LARGE_PICTURE and letters < _FEW_LETTERS:
        return "the text layer says little beside a large picture"
    if letters < _FEWEST_LETTERS and (surface.picture_share >= _PICTURE or surface.has_drawings):
        return "the text layer has little but running lines"
    return ""


def _layer(text_page: Any) -> tuple[str, str]:
    count = text_page.count_chars()
    if count > MOST_CHARACTERS:
        note = f"the text layer has {count:,} characters, of which the first {MOST_CHARACTERS:,} were read"
        return text_page.get_text_range(0, MOST_CHARACTERS), note
    if _is_turned(text_page.raw, count):
        return text_page.get_text_range(), ""
    return in_reading_order(text_page, text_page.get_text_bounded()), ""


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

    pdfium writes such a break as U+0002; fonts without a proper encoding give other control characters, which say nothing. Accents
    that a font sets as signs of their own stand on their letters.

    >>> _clean("candi\\x02date\\r\\nspans \\x07 here, as Poincar\u00b4e says")
    'candi-\\ndate\\nspans   here, as Poincar\u00e9 says'
    """
    text = _BROKEN_WORD.sub("-\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    if not text.isascii():
        text = _ACCENT.sub(_accented, text)
    return _CONTROL.sub(" ", text).strip()


def _accented(match: re.Match[str]) -> str:
    accent, letter = match[1] or match[3], match[2] or match[4]
    whole = unicodedata.normalize("NFC", f"{letter}{_ACCENTS[accent]}")
    return whole if len(whole) == 1 else match[0]  # no letter of any alphabet
