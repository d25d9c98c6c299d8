"""Reads picture files: one file is one item, but each page of a TIFF of several pages is one, as a page of a PDF is.

JPEG (with MPO), PNG, WebP, GIF, BMP, TIFF, HEIC, AVIF, JPEG 2000, PNM, TGA, PCX, SGI, DDS, QOI, Photoshop and icons; JPEG XL and the raw
pictures of cameras with the extra `formats`, without which they are passed over in folders. Of an animation the first frame is taken, of a
HEIC the picture that it calls the first; `picture_note` in the metadata says so. A file whose content belongs to another suffix is
refused unless `mislabelled="accept"`, because a folder of renamed files usually means that something else went wrong too.

Pages are made documents of and are read by OCR where it is there, as pages of a PDF without text are; `text_source` and `text_note` in
their metadata mean the same. Pages are pictures whose names say so (`_page_pictures.py`; their document is the folder) and those of a TIFF
of several (their document is the file). A TIFF of one bit a pixel, as faxes and scanners write it, is read by OCR too. Other photographs
of pages look like any photograph: `pages="all"` (`--pages all`) has every picture of a folder read.
Cost: one read, whose bytes serve the hash, OCR and the picture of the item, as long as few of them wait (`SPARE_BYTES`); nothing is
decoded until the picture is opened, except for OCR: 0.5 to 3 s a page on one core. The directories of a TIFF are walked to count its pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmrerank.errors import FormatError
from mmrerank.parts import printed, runtime_option
from mmrerank.readers import _ocr
from mmrerank.readers._files import Spare, hash_of, mapped, read_bytes, spared, status_of
from mmrerank.readers._further import missing_library
from mmrerank.readers._headers import Header
from mmrerank.readers._kinds import PICTURE_SUFFIXES, TIFF_MAGICS
from mmrerank.readers._page_pictures import Pages, is_page, place_of
from mmrerank.readers._pictures import LIMITS, FilePicture, Limits, Mislabelled, inspect
from mmrerank.readers._tiff import Damaged, pages_at, reduced
from mmrerank.types import Failure, ImageHandle, Item, ReadItem

_PAGE = re.compile(r"#page=([1-9]\d{0,8})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Options:
    mislabelled: Mislabelled = "refuse"  # a PNG named .jpg
    max_pixels: int = LIMITS.max_pixels
    max_bytes: int = LIMITS.max_bytes
    max_pages: int = runtime_option(50_000)  # of one TIFF
    pages: Pages = "auto"  # which pictures are pages of a document: those whose names say so; all; none
    ocr: _ocr.Ocr = "auto"  # for pages only; this and what follows as in `pdf`
    ocr_language: str = "eng"  # as Tesseract calls it
    ocr_timeout_s: float = 60.0  # for one page


class ImageReader:
    """Picture files -> items with `height` and `width` (pixels, upright) as metadata."""

    suffixes = frozenset(PICTURE_SUFFIXES)

    def __init__(self, options: Options) -> None:
        self.name = printed("images", options)
        self._options = options
        self._mislabelled = options.mislabelled
        self._limits = Limits(max_pixels=options.max_pixels, max_bytes=options.max_bytes)

    def is_one_item(self, path: Path) -> bool:
        """Whether the file is one picture, whatever is in it: all but TIFFs are."""
        return PICTURE_SUFFIXES.get(path.suffix.lower()) != "TIFF"

    def passes_over(self, path: Path) -> str:
        """What to install for the format that the suffix names, where that is missing."""
        return missing_library(PICTURE_SUFFIXES.get(path.suffix.lower(), ""))

    def count(self, path: Path) -> int:
        """1 for a non-empty file, which is not opened for it; the number of pages of a TIFF, and one more where there are more than
        are read. FormatError for what is no regular file."""
        status_of(path, max_bytes=self._limits.max_bytes)
        return 1 if self.is_one_item(path) else len(self._pages_of(path)) or 1

    def has_texts(self, path: Path) -> bool:
        """Whether the picture is a page that OCR reads here."""
        if self._options.pages == "never" or _ocr.why_not(self._options.ocr) is not None:
            return False
        if self._options.pages == "all" or is_page(path):
            return True
        try:
            return not self.is_one_item(path) and (len(self._pages_of(path)) > 1 or self._is_bilevel(path))
        except FormatError:  # it is told when the file is read
            return False

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem | Failure]:
        """The one item of this file, or the pages of a TIFF of several, whose ids end in `#page=N`.

        Raises:
            FormatError: its header cannot be accepted: see `inspect`. Damage further on shows when the picture is opened.
        """
        data = read_bytes(path, max_bytes=self._limits.max_bytes)
        if not self.is_one_item(path) and len(pages := _pages_in(data, self._options.max_pages)) > 1:
            yield from self._pages(path, item_id, data, pages)
            return
        header = inspect(data, path=path, suffix=path.suffix, mislabelled=self._mislabelled, limits=self._limits)
        item = Item(item_id=item_id, image=self._picture(path, spared(data)), metadata=_described(header))
        entry = ReadItem(item=item, content_hash=hash_of(data))
        document_id, number = self.place(path, item_id)
        if document_id is not None:
            item = replace(item, document_id=document_id, page_number=number)
            yield self._read(ReadItem(item=item, content_hash=hash_of(entry.content_hash, document_id, str(number))))
        else:
            yield self._read(entry) if self._options.pages == "auto" and self._has_words(header) else entry

    def _pages(self, path: Path, item_id: str, data: bytes, pages: Sequence[int]) -> Iterator[ReadItem | Failure]:
        """The pages of a TIFF of several; one that cannot be read is a Failure, and the rest goes on."""
        spare, file_hash, most = spared(data), hash_of(data), self._options.max_pages

        def entries() -> Iterator[ReadItem | Failure]:
            for number, start in enumerate(pages[:most], 1):
                page_id = f"{item_id}#page={number}"
                try:
                    header = inspect(data, path=path, suffix=path.suffix, mislabelled=self._mislabelled, limits=self._limits, start=start)
                except FormatError as error:
                    yield Failure(path=page_id, reason=error.reason)
                    continue
                picture = self._picture(path, spare, number)
                item = Item(item_id=page_id, document_id=item_id, page_number=number, image=picture, metadata=_described(header))
                yield ReadItem(item=item, content_hash=hash_of(file_hash, str(number)))
            if len(pages) > most:
                yield Failure(path=f"{item_id}#page={most + 1}", reason=f"has more than {most} pages; those from here on are left out")

        is_read = self._options.pages != "never"
        yield from _ocr.in_order(entries(), lambda entry: is_read and isinstance(entry, ReadItem), self._read)

    def _pages_of(self, path: Path) -> Sequence[int]:
        with mapped(path, max_bytes=self._limits.max_bytes) as data:
            return _pages_in(data, self._options.max_pages)

    def _is_bilevel(self, path: Path) -> bool:
        with mapped(path, max_bytes=self._limits.max_bytes) as data:
            try:
                return bytes(data[:4]) in TIFF_MAGICS and reduced(data, pages_at(data, 1)[0]).bits == 1
            except Damaged:
                return False

    def _has_words(self, header: Header) -> bool:
        """Whether a picture that is not called a page is one for certain, by how it is stored."""
        return header.page is not None and header.page.bits == 1

    def place(self, path: Path, item_id: str) -> tuple[str | None, int | None]:
        """Document id and page number of this file now; other files of its folder that come or go may change them."""
        return place_of(path, item_id, self._options.pages) or (None, None)

    def _read(self, entry: ReadItem | Failure) -> ReadItem | Failure:
        """A page with its words, or with a note why it has none."""
        options = self._options
        if isinstance(entry, Failure) or entry.item.image is None:
            return entry
        if (why := _ocr.why_not(options.ocr)) is not None:
            return _ocr.noted(entry, why)
        return _ocr.with_text(entry, entry.item.image, language=options.ocr_language, timeout_s=options.ocr_timeout_s)

    def outdated(self, note: str) -> bool:
        """Whether a page with this note in its metadata would be read otherwise now."""
        return _ocr.outdated(note, self._options.ocr)

    def handle(self, path: Path, fragment: str) -> ImageHandle:
        """The picture of this file, or the page of a TIFF that `#page=N` names; FormatError for any other fragment."""
        if not fragment:
            return self._picture(path)
        match = _PAGE.fullmatch(fragment)
        if match is None or self.is_one_item(path):
            raise FormatError(f"a picture file has no part {fragment!r}", path=path)
        return self._picture(path, number=int(match[1]))

    def _picture(self, path: Path, spare: Spare | None = None, number: int = 1) -> FilePicture:
        return FilePicture(path=path, mislabelled=self._mislabelled, limits=self._limits, page_number=number, spare=spare)


def _pages_in(data: bytes | memoryview, most: int) -> Sequence[int]:
    """Where the pages of a TIFF stand, at most one more than `most`; nothing for a file that is none, or a broken one."""
    if bytes(data[:4]) not in TIFF_MAGICS:
        return ()
    try:
        return pages_at(memoryview(data), most + 1)
    except Damaged:
        return ()


def _described(header: Header) -> dict[str, Any]:
    height, width = header.size
    note = {"picture_note": "of an animation or a sequence, the first picture is taken"} if header.animated else {}
    return {"height": height, "width": width, **note}


def build(options: Options) -> ImageReader:
    return ImageReader(options)


def tiny() -> ImageReader:
    return ImageReader(Options())
