"""Reads office documents: pages with pictures where LibreOffice is installed, their words in parts where it is not.

LibreOffice (`soffice` on the path; Debian: libreoffice-writer-nogui, libreoffice-impress-nogui) makes a PDF, whose pages are read by the
reader of PDFs; it takes OpenDocument, RTF and the formats of before 2007 too. Without it, or with `render="never"`, python-docx and
python-pptx give the words of .docx in parts below their headings (ids `FILE#part=N`) and of .pptx slide by slide (`FILE#page=N`); what
only LibreOffice reads is passed over in folders. Workbooks (.xlsx) are always read by openpyxl, in parts of whole rows: a printed sheet
cuts them.
Chosen: these libraries are small (6 MB with lxml) and keep slides, headings and sheets apart. Weighed: kreuzberg (98 MB, one package)
runs slides together, markitdown (30 packages, an ONNX runtime among them) makes one Markdown of a file, docling (122 packages, torch
models) and unstructured (88) understand layouts that are pages of a PDF here.
A document that LibreOffice does not finish in `timeout_s` is a failure. Archives are bounded before they are opened (`_archives.py`).
Cost: 2 to 3 s a document to render it, again when its pages are shown by another process; 10 to 50 ms for words alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

from PIL import Image

from mmrerank.errors import FormatError, MissingExtra
from mmrerank.parts import make, printed
from mmrerank.protocols import Reader
from mmrerank.readers import _libreoffice, _ocr
from mmrerank.readers._archives import archive_of
from mmrerank.readers._files import MIB, content_key, hash_of, hashed, status_of
from mmrerank.readers._metadata import clean
from mmrerank.readers._office_words import paragraphs, rows_of_sheets, slides
from mmrerank.readers._parts_of_text import PAGE_CHARACTERS, items_of
from mmrerank.types import Failure, ImageHandle, Item, ReadItem

Render: TypeAlias = Literal["auto", "never", "required"]
# suffix -> the library that reads its words
_WORDS = {".docx": "docx", ".docm": "docx", ".pptx": "pptx", ".pptm": "pptx", ".xlsx": "openpyxl", ".xlsm": "openpyxl"}
_PACKAGES = {"docx": "python-docx", "pptx": "python-pptx", "openpyxl": "openpyxl"}
_RENDERED_ONLY = frozenset((".odt", ".odp", ".ods", ".rtf", ".doc", ".ppt", ".xls"))
_ZIPPED = frozenset((*_WORDS, ".odt", ".odp", ".ods"))
_INSTALL = "such as: apt install libreoffice-writer-nogui libreoffice-impress-nogui libreoffice-calc-nogui"


@dataclass(frozen=True, kw_only=True)
class Options:
    render: Render = "auto"  # pages by LibreOffice: where it is there; never; or a missing program is an error
    timeout_s: float = 120.0  # for one document
    max_bytes: int = 128 * MIB  # a larger file is refused
    part_characters: int = PAGE_CHARACTERS  # the longest part, where there are no pages
    ocr: _ocr.Ocr = "auto"  # for pages without words, this and the next as in `pdf`
    ocr_language: str = "eng"  # as Tesseract calls it


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPage:
    """A page of a document as LibreOffice lays it out."""

    path: Path
    page_number: int  # from 1
    max_bytes: int
    timeout_s: float

    def content_key(self) -> str:
        """Of the file's bytes and which page of it."""
        return content_key(self.path, "laid out", self.page_number)

    def open(self) -> Image.Image:
        """The page as RGB on white.

        Raises:
            FormatError: LibreOffice is not there, or does not make the page.
        """
        if _libreoffice.program() is None:
            raise FormatError(f"its pages were made by LibreOffice, which is not on the path; {_INSTALL}", path=self.path)
        pdf = _libreoffice.CONVERSIONS.pdf_of(self.path, max_bytes=self.max_bytes, timeout_s=self.timeout_s)
        handle: ImageHandle = make("pdf", station="readers").handle(pdf, f"#page={self.page_number}")
        return handle.open()


class OfficeReader:
    """Office documents -> pages, slides or parts, with `title` or `section` as metadata where they have one."""

    suffixes = frozenset((*_WORDS, *_RENDERED_ONLY))

    def __init__(self, options: Options) -> None:
        self.name = printed("office", options)
        self._options = options
        self._pages: Reader = make(f"pdf(ocr={options.ocr!r}, ocr_language={options.ocr_language!r})", station="readers")

    def passes_over(self, path: Path) -> str:
        """What to install where nothing can read it."""
        return "" if self._is_rendered(path) else _missing(path)

    def has_texts(self, path: Path) -> bool:
        """True: what has no words is a page that is read by OCR, or noted."""
        return True

    def outdated(self, note: str) -> bool:
        """Whether a page with this note in its metadata would be read otherwise now."""
        return _ocr.outdated(note, self._options.ocr)

    def count(self, path: Path) -> int:
        """The number of pages, slides or parts; FormatError as `read`. A document that is rendered is rendered for it, once."""
        if self._is_rendered(path):
            return self._pages.count(self._pdf(path))
        return sum(1 for _ in self.read(path, path.name))

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The pages, slides or parts in order.

        Raises:
            FormatError: it cannot be read, is encrypted, above a limit, or has no words; or what reads it is not installed.
        """
        if self._is_rendered(path):
            yield from self._rendered(path, item_id)
            return
        if why := _missing(path):
            raise FormatError(why, path=path)
        self._check(path)
        yield from self._words(path, item_id)

    def handle(self, path: Path, fragment: str) -> ImageHandle | None:
        """The picture of the page that `#page=N` names, where the document is rendered; None for slides and parts."""
        number = fragment.removeprefix("#page=")
        if not self._is_rendered(path) or number == fragment or not number.isdecimal():
            return None
        return self._picture(path, int(number))

    def _is_rendered(self, path: Path) -> bool:
        """Whether its pages are made by LibreOffice.

        Raises:
            MissingExtra: they have to be, and it is not there.
        """
        suffix = path.suffix.lower()
        if self._options.render == "never" or _WORDS.get(suffix) == "openpyxl":
            return False
        if _libreoffice.program() is not None:
            return True
        if self._options.render == "required":
            raise MissingExtra("pages of office documents need LibreOffice, which is not on the path.", hint=_INSTALL.capitalize())
        return False

    def _check(self, path: Path) -> None:
        status_of(path, max_bytes=self._options.max_bytes)
        if path.suffix.lower() in _ZIPPED:
            with archive_of(path, max_bytes=self._options.max_bytes):
                pass

    def _pdf(self, path: Path) -> Path:
        self._check(path)
        return _libreoffice.CONVERSIONS.pdf_of(path, max_bytes=self._options.max_bytes, timeout_s=self._options.timeout_s)

    def _rendered(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        pdf = self._pdf(path)
        file_hash, _ = hashed(path, whole_bytes=0)
        for entry in self._pages.read(pdf, item_id):
            if isinstance(entry, Failure) or entry.item.page_number is None:
                yield entry
                continue
            item = replace(entry.item, image=self._picture(path, entry.item.page_number))
            # the PDF is another one each time, by the time that stands in it
            yield ReadItem(item=item, content_hash=hash_of(file_hash, str(item.page_number), item.text or ""))

    def _picture(self, path: Path, number: int) -> RenderedPage:
        return RenderedPage(path=path, page_number=number, max_bytes=self._options.max_bytes, timeout_s=self._options.timeout_s)

    def _words(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        file_hash, _ = hashed(path, whole_bytes=0)
        library = _WORDS[path.suffix.lower()]
        try:
            if library == "pptx":
                entries: list[ReadItem] = list(self._slides(path, item_id, file_hash))
            else:
                blocks = [replace(b, text=clean(b.text)) for b in (paragraphs if library == "docx" else rows_of_sheets)(path)]
                entries = list(items_of(blocks, item_id, file_hash, {}, most=self._options.part_characters))
        except Exception as error:  # the libraries raise nearly any type over broken parts of a document
            message = " ".join(str(error).split())[:200] or type(error).__name__
            raise FormatError(f"cannot be read by {_PACKAGES[library]}: {message}", path=path) from error
        if not entries:
            raise FormatError("has no words", path=path)
        yield from entries

    def _slides(self, path: Path, item_id: str, file_hash: str) -> Iterator[ReadItem]:
        for number, (title, words) in enumerate(slides(path), 1):
            text = clean(words).strip()
            note = {} if text else {"text_note": "the slide has no words, and LibreOffice, which would show it, is not used"}
            section = {"section": clean(title)[:300]} if title else {}
            page_id = f"{item_id}#page={number}"
            item = Item(item_id=page_id, document_id=item_id, page_number=number, text=text or None, metadata=section | note)
            yield ReadItem(item=item, content_hash=hash_of(file_hash, str(number)))


def _missing(path: Path) -> str:
    """What to install for the words of a file; "" where that is there."""
    library = _WORDS.get(path.suffix.lower())
    if library is None:
        return f"LibreOffice, which reads them, is not on the path; {_INSTALL}"
    return "" if find_spec(library) is not None else f"reading them needs {_PACKAGES[library]}: pip install 'mmrerank[office]'"


def build(options: Options) -> OfficeReader:
    return OfficeReader(options)


def tiny() -> OfficeReader:
    return OfficeReader(Options())
