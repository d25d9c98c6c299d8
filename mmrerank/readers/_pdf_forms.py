"""What was filled into the form fields of a PDF page: it is drawn, but it does not belong to the page's text layer.

What the libraries lack: pypdfium2 draws forms and knows nothing of their values, nor of the labels that are printed beside them; so pdfium
is asked here, field by field, within limits on fields, options and letters.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pypdfium2.raw as pdfium

_WRITTEN = {pdfium.FPDF_FORMFIELD_TEXTFIELD, pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX}  # the others are ticked
UNSEEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_PASSWORD = 1 << 13  # of the field's flags: PDF 32000-1, table 228
_MOST_FIELDS = 500  # of a page
_MOST_LETTERS = 50_000  # of a page whose fields get labels: each of those is sought among all letters
_MOST_OPTIONS = 1000  # of a field
_MOST_CHARACTERS = 10_000  # of a value
_LINE = 16  # points; a label that stands above its field stands no higher


@dataclass(frozen=True, slots=True)
class Field:
    value: str
    left: float  # points of the page, from its lower left corner
    bottom: float
    right: float
    top: float


def filled_in(page: Any, text_page: Any, form: Any, typed: Sequence[Field] = ()) -> list[tuple[str, str]]:
    """(label, value) of each field that shows a value; the label is what is printed to its left or else above it, "" where nothing is.

    Passwords and hidden fields are left out.

    Args:
        form: the document's form environment; None where it has no form.
        typed: what was typed onto the page beside its fields; it has labels as they have.
    """
    fields = [] if form is None else list(islice(_fields(page.raw, form.raw), _MOST_FIELDS))
    fields += typed[:_MOST_FIELDS]
    has_labels = text_page.count_chars() <= _MOST_LETTERS
    return [(_label(text_page, field, fields) if has_labels else "", field.value) for field in fields if field.value]


def with_values(text: str, fields: Sequence[tuple[str, str]]) -> str:
    """The text with each value after its label, in the order of equal labels; those without a label follow as paragraphs.

    >>> with_values("Form of names\\nName: Year:", [("Name:", "Ada"), ("Year:", "1815"), ("", "x")])
    'Form of names\\nName: Ada Year: 1815\\n\\nx'
    """
    values: dict[int, str] = {}  # where the label ends in `text`, or beyond its end -> what stands in the field
    for label, value in fields:
        places = (re.compile(pattern, re.MULTILINE).finditer(text) for pattern in _patterns(label))
        ends = (match.end() for matches in places for match in matches if match.end() not in values)
        values[next(ends, len(text) + 1 + len(values))] = value
    pieces, begin = [], 0
    for end in sorted(values):
        pieces += [text[begin:end], f" {values[end]}" if end <= len(text) else f"\n\n{values[end]}"]
        begin = end
    return "".join([*pieces, text[begin:]]).strip()


def _patterns(label: str) -> list[str]:
    """How to look for a label: as a line of its own, else within one."""
    words = re.escape(label)
    return [rf"^{words}$", rf"(?<!\w){words}(?!\w)"] if label else []


def _fields(page: Any, form: Any) -> Iterator[Field]:
    for n in range(pdfium.FPDFPage_GetAnnotCount(page)):
        with annotation_at(page, n) as annotation:
            rectangle = pdfium.FS_RECTF()
            if (
                pdfium.FPDFAnnot_GetFormFieldType(form, annotation) in _WRITTEN
                and not pdfium.FPDFAnnot_GetFlags(annotation) & UNSEEN
                and not pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD
                and pdfium.FPDFAnnot_GetRect(annotation, rectangle)
            ):
                yield Field(_value(form, annotation), rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)


@contextmanager
def annotation_at(page: Any, n: int) -> Iterator[Any]:
    annotation = pdfium.FPDFPage_GetAnnot(page, n)
    try:
        yield annotation
    finally:
        pdfium.FPDFPage_CloseAnnot(annotation)


def _value(form: Any, annotation: Any) -> str:
    """What the field shows: of a list the names of what is chosen, which may be stored under other values."""
    options = range(min(pdfium.FPDFAnnot_GetOptionCount(form, annotation), _MOST_OPTIONS))
    choices = [n for n in options if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, n)]
    names = [string_of(lambda *buffer, n=n: pdfium.FPDFAnnot_GetOptionLabel(form, annotation, n, *buffer)) for n in choices]
    return ", ".join(names) or string_of(lambda *buffer: pdfium.FPDFAnnot_GetFormFieldValue(form, annotation, *buffer))


def string_of(call: Callable[..., int]) -> str:
    """The text that a function of pdfium writes into (buffer, bytes), as it does: UTF-16 with a zero at the end."""
    size = call(None, 0)
    if not 2 < size <= 2 * _MOST_CHARACTERS:
        return ""
    buffer = ctypes.create_string_buffer(size)
    call(ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace").strip()


def _label(text_page: Any, field: Field, fields: Sequence[Field]) -> str:
    """The line of print to the left of the field, up to the next field there; else the last line above it."""
    beside = [other.right for other in fields if other.right <= field.left and other.bottom < field.top and other.top > field.bottom]
    beside_text = text_page.get_text_bounded(max(beside, default=None), field.bottom, field.left, field.top).strip()
    if beside_text:
        return str(beside_text.splitlines()[0].strip())
    above = text_page.get_text_bounded(field.left, field.top, field.right, field.top + _LINE).strip()
    return str(above.splitlines()[-1].strip()) if above else ""
