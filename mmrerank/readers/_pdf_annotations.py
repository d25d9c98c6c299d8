"""The words that were put onto a PDF page later: typed with a viewer's text tool, written into notes, stamps and comments.

They are drawn on the page, or shown when somebody points at them, and do not belong to its text layer. Links and form fields are
no annotations in this sense; a popup says again what its note says. What is hidden stays unread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

from mmrerank.readers._pdf_forms import UNSEEN, Field, annotation_at, string_of

_MOST_ANNOTATIONS = 2_000  # of a page
_SILENT = {pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_POPUP, pdfium.FPDF_ANNOT_XFAWIDGET}
_TAG = re.compile(r"<[^<>]{0,500}>")
_STAMP_NAME = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotations:
    """What was put onto one page."""

    typed: tuple[Field, ...] = ()  # with a text tool; a printed label may stand beside it
    comments: tuple[str, ...] = ()  # of notes, stamps, marked passages and drawings, each once
    attached: tuple[str, ...] = ()  # names of files that are pinned to the page


def annotations_of(page: Any) -> Annotations:
    """The words and files that were put onto the page, in their order."""
    typed, comments, attached = [], [], []
    for n in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), _MOST_ANNOTATIONS)):
        with annotation_at(page.raw, n) as annotation:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            if kind in _SILENT or pdfium.FPDFAnnot_GetFlags(annotation) & UNSEEN:
                continue
            if kind == pdfium.FPDF_ANNOT_FILEATTACHMENT:
                attached.append(_file_name(annotation))
            if words := _words(annotation, kind):
                if kind == pdfium.FPDF_ANNOT_FREETEXT:
                    typed.append(_placed(annotation, words))
                else:
                    comments.append(words)
    return Annotations(typed=tuple(typed), comments=tuple(dict.fromkeys(comments)), attached=tuple(attached))


def _placed(annotation: Any, words: str) -> Field:
    rectangle = pdfium.FS_RECTF()
    pdfium.FPDFAnnot_GetRect(annotation, rectangle)
    return Field(words, rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)


def _file_name(annotation: Any) -> str:
    attachment = pdfium.FPDFAnnot_GetFileAttachment(annotation)
    return (string_of(lambda *buffer: pdfium.FPDFAttachment_GetName(attachment, *buffer)) if attachment else "") or "without a name"


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
