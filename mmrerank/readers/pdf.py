"""Reads PDFs through pdfium: each page is one item, with its text layer, its place in the document and a picture on demand.

A page whose text layer will not do (none, a stamp over a scan, letters that mean nothing: `_pdf_text.py`) is read by OCR where
Tesseract is there (`_ocr.py`). Its metadata says where its text is from, or why it has none: `text_source` is "ocr", `text_note` the
reason. OCR that fails costs the text of that page, never the page. Running heads and feet stand in front of a page's text, a form feed
between (`_running_lines.py`).

pdfium is not thread-safe: one lock covers every call, so pages are read and rendered one at a time, and other threads encode
meanwhile. Few documents stay open and are closed explicitly under the same lock. There is no limit on the time that one page
takes to render; its pixels are bounded.
Cost: reading the file once, up to `_WHOLE_BYTES` for its hash and for pdfium alike; 4 to 5 ms a page for the text, 3 to 4 of them
bare pdfium; 20 to 40 ms to render a page at 144 dpi; 0.5 to 3 s of one core for OCR.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import printed
from mmrerank.readers import _ocr
from mmrerank.readers._files import MIB, content_key, hash_of, hashed, opened, status_of
from mmrerank.readers._kinds import looks_like
from mmrerank.readers._line_ends import rejoined
from mmrerank.readers._page_numbers import numbered
from mmrerank.readers._passwords import decrypted, encoded_passwords, number_of_passwords
from mmrerank.readers._pdf_outline import Outline, outline_of, words
from mmrerank.readers._pdf_text import Layer, why_unread, without_running_lines, words_of
from mmrerank.readers._running_lines import Edges, RunningLines, with_running_lines
from mmrerank.types import Failure, ImageHandle, Item, ReadItem

logger = logging.getLogger(__name__)

_LOCK = threading.RLock()  # reentrant: a generator may be closed by the garbage collector of the thread that holds it
_OPEN_DOCUMENTS = 4
_WHOLE_BYTES = 32 * MIB  # up to here a document that is read through is opened from the bytes that were read for its hash
_WINDOW = 32  # pages whose heads and feet are compared at a time
_PASSWORD, _SECURITY = 4, 5  # FPDF_ERR_* of fpdfview.h
_FRAGMENT = re.compile(r"#page=([1-9]\d{0,8})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Options:
    dpi: int = 144  # at which a page is rendered
    max_side_px: int = 4096  # a larger page is rendered at fewer dpi: at most 50 MB a picture
    max_pages: int = 50_000  # a file of 1 kB can claim a million
    ocr: _ocr.Ocr = "auto"  # pages whose text layer will not do are read by OCR: where it is there; never; or a missing program is an error
    ocr_language: str = "eng"  # as Tesseract calls it; "eng+deu" for both
    ocr_timeout_s: float = 60.0  # for one page


class _Documents:
    """The documents used last, kept open. Every use holds `_LOCK`."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[Path, int, int], Any] = OrderedDict()

    def get(self, path: Path, *, content: bytes | None = None, status: os.stat_result | None = None) -> Any:
        """The open document; FormatError when it cannot be opened.

        Args:
            content: its bytes, where they were read just now.
            status: what the system said of it before that.
        """
        status = status or status_of(path)
        key = (path, status.st_mtime_ns, status.st_size)
        if key not in self._open:
            self._make_room(path)
            self._open[key] = _load(path, content)
        self._open.move_to_end(key)
        return self._open[key]

    def _make_room(self, path: Path) -> None:
        for stale in [key for key in self._open if key[0] == path]:  # the file has changed
            self._open.pop(stale).close()
        while len(self._open) >= _OPEN_DOCUMENTS:
            self._open.popitem(last=False)[1].close()

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


_DOCUMENTS = _Documents()


def close_documents() -> None:
    """Closes the documents that are kept open; the next use opens them again."""
    with _LOCK:
        _DOCUMENTS.close()


atexit.register(close_documents)  # before pypdfium2's own farewell, which names every document still open on stderr


def _load(path: Path, content: bytes | None) -> Any:
    raw, content = _opened(path, content)
    document = pypdfium2.PdfDocument(raw)  # with a path it would take a document without pages for the error of an earlier one
    document.content = content  # pdfium reads it for as long as the document is open
    try:
        if document.get_formtype() == pdfium.FORMTYPE_ACRO_FORM:  # of an XFA form pypdfium2 would print advice to recompile it
            document.init_forms()  # so that what was filled into a form is rendered too
    except pypdfium2.PdfiumError as error:
        logger.warning("%s: its form fields will not be rendered: %s", path, error)
    if len(document) < 1:
        document.close()
        raise FormatError("empty: 0 pages", path=path)
    return document


def _opened(path: Path, content: bytes | None) -> tuple[Any, bytes | None]:
    """pdfium's document and the bytes that it reads: opened as it is, else with each password there is, while it asks for one."""
    raw, code = None, 0
    for password in encoded_passwords():
        if content is None:
            raw = pdfium.FPDF_LoadDocument(str(path).encode("utf-8", "surrogateescape") + b"\0", password)
        else:
            raw = pdfium.FPDF_LoadMemDocument64(content, len(content), password)
        code = 0 if raw else pdfium.FPDF_GetLastError()
        if code != _PASSWORD:
            break
    if code in (_PASSWORD, _SECURITY) and (plain := decrypted(path)):
        raw, content = pdfium.FPDF_LoadMemDocument64(plain, len(plain), None), plain
    if not raw:
        raise FormatError(_why_not(code, _head(path) if content is None else content[:1024]), path=path)
    return raw, content


def _head(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(1024)


def _why_not(code: int, head: bytes) -> str:
    if code == _PASSWORD:
        count = number_of_passwords()
        return f"encrypted: needs a password{f'; none of the {count} handed over opens it' if count else ''}"
    if code == _SECURITY:
        return "encrypted: by a scheme that is not supported"
    if b"%PDF" not in head:
        return f"not a PDF: looks like {looks_like(head)}"
    return "broken: its structure cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePicture:
    """One page of a PDF, rendered when it is opened."""

    path: Path
    page_number: int  # from 1
    dpi: int = 144
    max_side_px: int = 4096

    def content_key(self) -> str:
        """Of the file's bytes, which page, and how it is rendered."""
        return content_key(self.path, "page", self.page_number, self.dpi, self.max_side_px)

    def open(self) -> Image.Image:
        """The page as RGB on white, at `dpi` or as many as keep its longer side within `max_side_px`.

        Raises:
            FormatError: the file cannot be opened, or it has no such page, or the page cannot be rendered.
        """
        with _LOCK:
            page = _page(_DOCUMENTS.get(self.path), self.page_number, self.path)
            try:
                return self._rendered(page)
            except (pypdfium2.PdfiumError, ValueError, OverflowError, MemoryError) as error:
                raise FormatError(f"page {self.page_number} cannot be rendered: {error}", path=self.path) from error
            finally:
                page.close()

    def _rendered(self, page: Any) -> Image.Image:
        side = max(page.get_size())  # points of 1/72 inch, rotation applied
        if not math.isfinite(side) or side <= 0:
            raise ValueError(f"its size is {page.get_size()}")
        scale = min(self.dpi / 72, (self.max_side_px - 1e-3) / side)
        bitmap = page.render(scale=scale, rev_byteorder=True)
        try:
            return bitmap.to_pil().convert("RGB")  # type: ignore[no-any-return]  # a copy: the bitmap goes
        finally:
            bitmap.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledPagePicture:
    """The page that bears a label, such as "iv" or "A-3"; in a document without labels, the page of that number."""

    label: str
    first: PagePicture  # of the document, and how it is rendered

    def open(self) -> Image.Image:
        """As `PagePicture.open`; FormatError too where no page bears the label, or several do."""
        with _LOCK:
            return replace(self.first, page_number=self._number(_DOCUMENTS.get(self.first.path))).open()

    def _number(self, document: Any) -> int:
        labels = [document.get_page_label(n) for n in range(len(document))]
        numbers = [n for n, label in enumerate(labels, 1) if label == self.label]
        if not any(labels) and self.label.isascii() and self.label.isdecimal():
            numbers = [n for n in (int(self.label),) if 1 <= n <= len(labels)]
        if len(numbers) != 1:
            bearers = f"the pages {', '.join(map(str, numbers))} bear" if numbers else f"none of {len(labels)} pages bears"
            raise FormatError(f"{bearers} the label {self.label!r}", path=self.first.path, hint="Say which by page_number.")
        return numbers[0]


def _page(document: Any, page_number: int, path: Path) -> Any:
    if page_number > len(document):
        raise FormatError(f"has {len(document)} pages, so no page {page_number}", path=path)
    try:
        return document[page_number - 1]
    except pypdfium2.PdfiumError as error:
        raise FormatError(f"page {page_number} cannot be loaded", path=path) from error


class PdfReader:
    """PDF -> pages with `title`, `section` and `page_label` as metadata where the document gives them."""

    suffixes = frozenset({".pdf"})
    hashed_options = frozenset({"max_pages", "ocr", "ocr_language", "ocr_timeout_s"})

    def __init__(self, options: Options) -> None:
        self.name = printed("pdf", options)
        self._options = options

    def count(self, path: Path) -> int:
        """The number of pages; FormatError when it cannot be opened or claims more than `max_pages`."""
        with _LOCK:
            pages = len(_DOCUMENTS.get(path))
        if pages > self._options.max_pages:
            raise FormatError(f"claims {pages} pages, above the limit of {self._options.max_pages}", path=path)
        return pages

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The pages in order, ids `ITEM_ID#page=N`; a page that cannot be loaded is a Failure.

        Raises:
            FormatError: the file cannot be opened, needs a password, has no pages or claims too many.
        """
        status = status_of(path)
        file_hash, content = hashed(path, whole_bytes=_WHOLE_BYTES)
        with _LOCK:
            document = _DOCUMENTS.get(path, content=content, status=status)
            del content  # the document has it, where it was not open yet
            source = _Source(path=path, item_id=item_id, file_hash=file_hash, pages=self.count(path), outline=_outline(document, path))
        pages = self._pages(source)
        if (reason := _ocr.why_not(self._options.ocr)) is None:
            pages = _ocr.in_order(pages, lambda page: bool(page.why), lambda page: self._with_ocr(page, path))
            yield from numbered(page.entry for page in pages)
        else:
            yield from numbered(_noted(page, reason) for page in pages)

    def _pages(self, source: _Source) -> Iterator[_Page]:
        """The pages in order, some dozens read before the first is handed on: what comes again on them is no part of their text."""
        running = RunningLines(pages=source.pages)
        for first in range(1, source.pages + 1, _WINDOW):
            layers = {number: source.layer(number) for number in range(first, min(first + _WINDOW, source.pages + 1))}
            running.learn([Edges(number=n, lines=layer.edges) for n, layer in layers.items() if isinstance(layer, Layer)])
            for number, layer in layers.items():
                yield _Page(entry=layer) if isinstance(layer, Failure) else self._page(source, number, layer, running)

    def _page(self, source: _Source, number: int, layer: Layer, running: RunningLines) -> _Page:
        edges = Edges(number=number, lines=layer.edges)
        lines = running.of(edges)
        body = without_running_lines(layer.text, lines)
        why = "" if source.outline.is_shell else why_unread(layer, body)
        text = with_running_lines("\n\n".join(filter(None, [rejoined(body), *layer.additions])), lines)
        if source.outline.is_shell:
            text = source.outline.form_text if number == 1 else ""
        note = "; ".join(filter(None, [layer.note, source.outline.note_of(number, layer.attached)]))
        label = _label(layer.label, number)
        item = Item(
            item_id=source.page_id(number),
            document_id=source.item_id,
            page_number=number,
            image=self._picture(source.path, number),
            text=text or None,
            metadata=source.outline.metadata_of(number) | label | ({"text_note": note} if note else {}),
        )
        return _Page(entry=ReadItem(item=item, content_hash=hash_of(source.file_hash, str(number))), why=why)

    def _with_ocr(self, page: _Page, path: Path) -> _Page:
        if isinstance(page.entry, Failure) or page.entry.item.page_number is None:
            return page
        options, picture = self._options, replace(self._picture(path, page.entry.item.page_number), dpi=_ocr.DPI)
        entry = _ocr.with_text(
            page.entry, picture, language=options.ocr_language, timeout_s=options.ocr_timeout_s, dpi=_ocr.DPI, why=page.why
        )
        return _Page(entry=entry)

    def has_texts(self, path: Path) -> bool:
        """True: a page without text of its own is read by OCR, or noted."""
        return True

    def outdated(self, note: str) -> bool:
        """Whether a page with this note in its metadata would be read otherwise now."""
        return _ocr.outdated(note, self._options.ocr)

    def handle(self, path: Path, fragment: str) -> ImageHandle:
        """The picture of the page that `#page=N` names, or that bears the label of `#label=TEXT`; FormatError for any other fragment."""
        if fragment.startswith("#label="):
            return LabelledPagePicture(label=fragment.removeprefix("#label="), first=self._picture(path, 1))
        match = _FRAGMENT.fullmatch(fragment)
        if match is None:
            raise FormatError(f"{fragment!r} names no page; expected '#page=N' with N from 1", path=path)
        return self._picture(path, int(match[1]))

    def _picture(self, path: Path, number: int) -> PagePicture:
        return PagePicture(path=path, page_number=number, dpi=self._options.dpi, max_side_px=self._options.max_side_px)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """The document that is being read."""

    path: Path
    item_id: str
    file_hash: str
    pages: int
    outline: Outline

    def page_id(self, number: int) -> str:
        return f"{self.item_id}#page={number}"

    def layer(self, number: int) -> Layer | Failure:
        """What a page says by itself; pages and text pages are closed at once, so memory stays flat."""
        try:
            with _LOCK:
                return _layer(_DOCUMENTS.get(self.path), number, self.path)
        except FormatError as error:
            return Failure(path=self.page_id(number), reason=error.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """A page on its way out."""

    entry: ReadItem | Failure
    why: str = ""  # why its words cannot be had from its text layer; "" where they were


def _noted(page: _Page, reason: str) -> ReadItem | Failure:
    return _ocr.noted(page.entry, reason, page.why) if page.why and isinstance(page.entry, ReadItem) else page.entry


def _layer(document: Any, number: int, path: Path) -> Layer:
    page = _page(document, number, path)
    try:
        return replace(words_of(page, document), label=words(lambda: document.get_page_label(number - 1)))
    except pypdfium2.PdfiumError as error:
        raise FormatError(f"the text of page {number} cannot be read: {error}", path=path) from error
    finally:
        page.close()


def _outline(document: Any, path: Path) -> Outline:
    """What the document says of itself; a first page that cannot be read says nothing."""
    first_text = ""
    if document.get_formtype() == pdfium.FORMTYPE_XFA_FOREGROUND:
        try:
            first_text = _layer(document, 1, path).text
        except FormatError:
            logger.debug("%s: its first page cannot be read, so it is not known whether it is the shell of a form", path)
    return outline_of(document, len(document), first_text)


def _label(label: str, number: int) -> dict[str, str]:
    return {"page_label": label} if label and label != str(number) else {}


def build(options: Options) -> PdfReader:
    return PdfReader(options)


def tiny() -> PdfReader:
    return PdfReader(Options())
