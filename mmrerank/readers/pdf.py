"""Reads PDFs through pdfium: each page is one item, with its text layer, its place in the document and a picture on demand.

A page without a text layer is read by OCR where Tesseract is there (`_ocr.py`). Its metadata says where its text is from, or why
it has none: `text_source` is "ocr", `text_note` the reason. OCR that fails costs the text of that page, never the page.

pdfium is not thread-safe: one lock covers every call, so pages are read and rendered one at a time, and other threads encode
meanwhile. Few documents stay open and are closed explicitly under the same lock. There is no limit on the time that one page
takes to render; its pixels are bounded.
Cost: reading the file once, up to `_WHOLE_BYTES` for its hash and for pdfium alike; 3 to 4 ms a page for the text, as bare pdfium;
20 to 40 ms to render a page at 144 dpi; 0.5 to 3 s of one core for OCR.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium
from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.parts import printed
from mmrerank.readers import _ocr
from mmrerank.readers._files import MIB, hash_of, hashed, looks_like, opened, status_of
from mmrerank.readers._page_numbers import numbered
from mmrerank.readers._pdf_text import words_of
from mmrerank.readers._titles import is_placeholder
from mmrerank.types import Failure, ImageHandle, Item, ReadItem

logger = logging.getLogger(__name__)

_LOCK = threading.RLock()  # reentrant: a generator may be closed by the garbage collector of the thread that holds it
_OPEN_DOCUMENTS = 4
_WHOLE_BYTES = 32 * MIB  # up to here a document that is read through is opened from the bytes that were read for its hash
_MAX_BOOKMARKS = 50_000
_PASSWORD, _SECURITY = 4, 5  # FPDF_ERR_* of fpdfview.h
_FRAGMENT = re.compile(r"#page=([1-9]\d{0,8})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Options:
    dpi: int = 144  # at which a page is rendered
    max_side_px: int = 4096  # a larger page is rendered at fewer dpi: at most 50 MB a picture
    max_pages: int = 50_000  # a file of 1 kB can claim a million
    ocr: _ocr.Ocr = "auto"  # pages without text are read by OCR: where it is there; never; or a missing program is an error
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
    if content is None:
        raw = pdfium.FPDF_LoadDocument(str(path).encode("utf-8", "surrogateescape") + b"\0", None)
    else:
        raw = pdfium.FPDF_LoadMemDocument64(content, len(content), None)
    if not raw:
        code = pdfium.FPDF_GetLastError()
        raise FormatError(_why_not(code, _head(path) if content is None else content[:1024]), path=path)
    document = pypdfium2.PdfDocument(raw)  # with a path it would take a document without pages for the error of an earlier one
    document.content = content  # pdfium reads it for as long as the document is open
    try:
        document.init_forms()  # so that what was filled into a form is rendered too
    except pypdfium2.PdfiumError as error:
        logger.warning("%s: its form fields will not be rendered: %s", path, error)
    if len(document) < 1:
        document.close()
        raise FormatError("empty: 0 pages", path=path)
    return document


def _head(path: Path) -> bytes:
    with opened(path) as file:
        return file.read(1024)


def _why_not(code: int, head: bytes) -> str:
    if code == _PASSWORD:
        return "encrypted: needs a password"
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


def _page(document: Any, page_number: int, path: Path) -> Any:
    if page_number > len(document):
        raise FormatError(f"has {len(document)} pages, so no page {page_number}", path=path)
    try:
        return document[page_number - 1]
    except pypdfium2.PdfiumError as error:
        raise FormatError(f"page {page_number} cannot be loaded", path=path) from error


class PdfReader:
    """PDF -> pages with `title`, `section` and `page_label` (what is printed on the page) as metadata where the document gives them."""

    suffixes = frozenset({".pdf"})

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
            pages = self.count(path)
            shared = _title(document)
            sections = _sections(document, pages)
        pages_read: Iterator[ReadItem | Failure]
        entries = (self._page(path, item_id, n, file_hash, shared | _section(sections[n - 1])) for n in range(1, pages + 1))
        if (why := _ocr.why_not(self._options.ocr)) is None:
            pages_read = _ocr.in_order(entries, _lacks_text, lambda entry: self._with_ocr(entry, path))
        else:
            pages_read = (_ocr.noted(entry, why) if isinstance(entry, ReadItem) and _lacks_text(entry) else entry for entry in entries)
        yield from numbered(pages_read)

    def _page(self, path: Path, item_id: str, number: int, file_hash: str, shared: dict[str, str]) -> ReadItem | Failure:
        page_id = f"{item_id}#page={number}"
        try:
            with _LOCK:
                text, note, label = _content(_DOCUMENTS.get(path), number, path)
        except FormatError as error:
            return Failure(path=page_id, reason=error.reason)
        item = Item(
            item_id=page_id,
            document_id=item_id,
            page_number=number,
            image=self._picture(path, number),
            text=text or None,
            metadata=shared | _label(label, number) | ({"text_note": note} if note else {}),
        )
        return ReadItem(item=item, content_hash=hash_of(file_hash, str(number)))

    def _with_ocr(self, entry: ReadItem | Failure, path: Path) -> ReadItem | Failure:
        if isinstance(entry, Failure) or entry.item.page_number is None:
            return entry
        options, picture = self._options, replace(self._picture(path, entry.item.page_number), dpi=_ocr.DPI)
        return _ocr.with_text(entry, picture, language=options.ocr_language, timeout_s=options.ocr_timeout_s, dpi=_ocr.DPI)

    def has_texts(self, path: Path) -> bool:
        """True: a page without text of its own is read by OCR, or noted."""
        return True

    def outdated(self, note: str) -> bool:
        """Whether a page with this note in its metadata would be read otherwise now."""
        return _ocr.outdated(note, self._options.ocr)

    def handle(self, path: Path, fragment: str) -> ImageHandle:
        """The picture of the page that `#page=N` names; FormatError for any other fragment."""
        match = _FRAGMENT.fullmatch(fragment)
        if match is None:
            raise FormatError(f"{fragment!r} names no page; expected '#page=N' with N from 1", path=path)
        return self._picture(path, int(match[1]))

    def _picture(self, path: Path, number: int) -> PagePicture:
        return PagePicture(path=path, page_number=number, dpi=self._options.dpi, max_side_px=self._options.max_side_px)


def _content(document: Any, number: int, path: Path) -> tuple[str, str, str]:
    """Text, note and label of a page; pages and text pages are closed at once, so memory stays flat."""
    page = _page(document, number, path)
    try:
        return *words_of(page, document), _words(lambda: document.get_page_label(number - 1))
    except pypdfium2.PdfiumError as error:
        raise FormatError(f"the text of page {number} cannot be read: {error}", path=path) from error
    finally:
        page.close()


def _words(call: Callable[[], str]) -> str:
    """A short text of the document's structure on one line; "" when its encoding is broken, as it is then no name."""
    try:
        return " ".join(call().replace("\0", "").split())[:300]
    except UnicodeDecodeError:
        return ""


def _title(document: Any) -> dict[str, str]:
    title = _words(lambda: document.get_metadata_value("Title"))
    return {} if is_placeholder(title) else {"title": title}


def _section(section: str) -> dict[str, str]:
    return {} if is_placeholder(section) else {"section": section}


def _label(label: str, number: int) -> dict[str, str]:
    return {"page_label": label} if label and label != str(number) else {}


def _lacks_text(entry: ReadItem | Failure) -> bool:
    return isinstance(entry, ReadItem) and not entry.item.text and "text_note" not in entry.item.metadata


def _sections(document: Any, pages: int) -> list[str]:
    """For each page its path in the table of contents, such as "Methods > Sampling"; "" before the first entry.

    Where entries begin on the page it is the first of them and its first children there, otherwise the last one before.
    """
    first: dict[int, tuple[str, ...]] = {}
    last: dict[int, tuple[str, ...]] = {}
    for path, page in _bookmarks(document):
        if page not in first or path[:-1] == first[page]:
            first[page] = path
        last[page] = path
    sections, running = [], ""
    for page in range(pages):
        sections.append(" > ".join(first[page]) if page in first else running)
        running = " > ".join(last[page]) if page in last else running
    return sections


def _bookmarks(document: Any) -> Iterator[tuple[tuple[str, ...], int]]:
    """(titles from the top, page from 0) of each entry that leads to a page."""
    path: list[str] = []
    for bookmark in islice(document.get_toc(), _MAX_BOOKMARKS):
        title = _words(bookmark.get_title)
        path[bookmark.level :] = [title]
        destination = bookmark.get_dest()
        page = destination.get_index() if destination is not None else None
        if page is not None and title:
            yield tuple(name for name in path if name), page


def build(options: Options) -> PdfReader:
    return PdfReader(options)


def tiny() -> PdfReader:
    return PdfReader(Options())
