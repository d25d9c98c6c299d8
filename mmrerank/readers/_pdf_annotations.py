"""The words that were put onto a PDF page later: typed with a viewer's text tool, written into notes, stamps and comments.

They are drawn on the page, or shown when somebody points at them, and do not belong to its text layer. Links and form fields are
no annotations in this sense; a popup says again what its note says. What is hidden stays unread.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pypdfium2.raw as pdfium

from mmrerank.readers._pdf_forms import UNSEEN, Field, annotation_at, string_of

_MOST_ANNOTATIONS = 2_000  # of a page
_SILENT = {pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_XFAWIDGET}
_TAG = re.compile(r"<[^<>]{0,500}>")
_STAMP_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])")


def typed_on(page: Any) -> list[Field]:
    """What was typed onto the page with a text tool, with its place; a printed label may stand beside it."""
    return [field for kind, field in _worded(page) if kind == pdfium.FPDF_ANNOT_FREETEXT]


def comments_on(page: Any) -> list[str]:
    """What notes, stamps, marked passages and drawings say, in their order, each once."""
    return list(dict.fromkeys(field.value for kind, field in _worded(page) if kind != pdfium.FPDF_ANNOT_FREETEXT))


def attached_to(page: Any) -> list[str]:
    """The names of the files that are pinned to the page."""
    names = []
    for n in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), _MOST_ANNOTATIONS)):
        with annotation_at(page.raw, n) as annotation:
            if pdfium.FPDFAnnot_GetSubtype(annotation) == pdfium.FPDF_ANNOT_FILEATTACHMENT:
                attachment = pdfium.FPDFAnnot_GetFileAttachment(annotation)
                name = string_of(lambda *b, a=attachment: pdfium.FPDFAttachment_GetName(a, *b)) if attachment else ""
                names.append(name or "without a name")
    return names


def _worded(page: Any) -> Iterator[tuple[int, Field]]:
    for n in islice(range(pdfium.FPDFPage_GetAnnotCount(page.raw)), _MOST_ANNOTATIONS):
        with annotation_at(page.raw, n) as annotation:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            if kind in _SILENT or pdfium.FPDFAnnot_GetFlags(annotation) & UNSEEN:
                continue
            if words := _words(annotation, kind):
                rectangle = pdfium.FS_RECTF()
                pdfium.FPDFAnnot_GetRect(annotation, rectangle)
                yield kind, Field(words, rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)


def _words(annotation: Any, kind: int) -> str:
    """What it says: its contents, else its rich text; of a stamp without words, the name of what it shows."""
    words = _entry(annotation, b"Contents") or _TAG.sub(" ", _entry(annotation, b"RC"))
    if not words.strip() and kind == pdfium.FPDF_ANNOT_STAMP:
        words = _STAMP_NAME.sub(" ", re.sub(r"\W+|^SB", " ", _entry(annotation, b"Name")))
    if not words.strip() and kind == pdfium.FPDF_ANNOT_REDACT:
        words = _entry(annotation, b"OverlayText")
    return "\n".join(line.strip() for line in words.replace("\r\n", "\n").replace("\r", "\n").split("\n")).strip()


def _entry(annotation: Any, key: bytes) -> str:
    return string_of(lambda *buffer: pdfium.FPDFAnnot_GetStringValue(annotation, key, *buffer))
