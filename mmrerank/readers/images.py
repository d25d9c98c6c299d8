"""Reads picture files: one file is one item.

JPEG (with MPO), PNG, WebP, GIF, BMP and TIFF; of several frames the first. A file whose content belongs to another suffix is
refused unless `mislabelled="accept"`, because a folder of renamed files usually means that something else went wrong too.
Pictures of pages (`_page_pictures.py`) make a document of their folder and are read by OCR where it is there, as pages of a PDF
without text are; `text_source` and `text_note` in their metadata mean the same.
Cost: one read, whose bytes serve the hash, OCR and the picture of the item, as long as few of them wait (`SPARE_BYTES`); nothing is
decoded until the picture is opened, except for OCR: 0.5 to 3 s a page on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mmrerank.errors import FormatError
from mmrerank.parts import printed
from mmrerank.readers import _ocr
from mmrerank.readers._files import PICTURE_SUFFIXES, Spare, hash_of, read_bytes, spared, status_of
from mmrerank.readers._page_pictures import Pages, is_page, place_of
from mmrerank.readers._pictures import LIMITS, FilePicture, Limits, Mislabelled, inspect
from mmrerank.types import ImageHandle, Item, ReadItem


@dataclass(frozen=True, kw_only=True)
class Options:
    mislabelled: Mislabelled = "refuse"  # a PNG named .jpg
    max_pixels: int = LIMITS.max_pixels
    max_bytes: int = LIMITS.max_bytes
    pages: Pages = "auto"  # which pictures are pages of a document: those whose names say so; all; none
    ocr: _ocr.Ocr = "auto"  # for pages only; this and what follows as in `pdf`
    ocr_language: str = "eng"  # as Tesseract calls it
    ocr_timeout_s: float = 60.0  # for one page


class ImageReader:
    """Picture files -> items with `height` and `width` (pixels, upright) as metadata."""

    suffixes = frozenset(PICTURE_SUFFIXES)
    one_item: Literal[True] = True
    hashed_options = frozenset({"mislabelled", "max_pixels", "max_bytes", "pages", "ocr", "ocr_language", "ocr_timeout_s"})

    def __init__(self, options: Options) -> None:
        self.name = printed("images", options)
        self._options = options
        self._mislabelled = options.mislabelled
        self._limits = Limits(max_pixels=options.max_pixels, max_bytes=options.max_bytes)

    def count(self, path: Path) -> int:
        """1 for a non-empty file, which is not opened for it; FormatError for anything else."""
        status_of(path, max_bytes=self._limits.max_bytes)
        return 1

    def has_texts(self, path: Path) -> bool:
        """Whether the picture is a page that OCR reads here."""
        is_read = is_page(path) if self._options.pages == "auto" else self._options.pages == "all"
        return is_read and _ocr.why_not(self._options.ocr) is None

    def read(self, path: Path, item_id: str) -> Iterator[ReadItem]:
        """The one item of this file.

        Raises:
            FormatError: its header cannot be accepted: see `inspect`. Damage further on shows when the picture is opened.
        """
        data = read_bytes(path, max_bytes=self._limits.max_bytes)
        header = inspect(data, path=path, suffix=path.suffix, mislabelled=self._mislabelled, limits=self._limits)
        height, width = header.size
        item = Item(item_id=item_id, image=self._picture(path, spared(data)), metadata={"height": height, "width": width})
        entry = ReadItem(item=item, content_hash=hash_of(data))
        document_id, number = self.place(path, item_id)
        yield entry if document_id is None else self._page(entry, path, document_id, number)

    def place(self, path: Path, item_id: str) -> tuple[str | None, int | None]:
        """Document id and page number of this file now; other files of its folder that come or go may change them."""
        return place_of(path, item_id, self._options.pages) or (None, None)

    def _page(self, entry: ReadItem, path: Path, document_id: str, number: int | None) -> ReadItem:
        options, item = self._options, replace(entry.item, document_id=document_id, page_number=number)
        page = ReadItem(item=item, content_hash=hash_of(entry.content_hash, document_id, str(number)))
        if (why := _ocr.why_not(options.ocr)) is not None:
            return _ocr.noted(page, why)
        return _ocr.with_text(page, item.image or self._picture(path), language=options.ocr_language, timeout_s=options.ocr_timeout_s)

    def outdated(self, note: str) -> bool:
        """Whether a page with this note in its metadata would be read otherwise now."""
        return _ocr.outdated(note, self._options.ocr)

    def handle(self, path: Path, fragment: str) -> ImageHandle:
        """The picture of this file; FormatError for a fragment, since a picture file has no parts."""
        if fragment:
            raise FormatError(f"a picture file has no part {fragment!r}", path=path)
        return self._picture(path)

    def _picture(self, path: Path, spare: Spare | None = None) -> FilePicture:
        return FilePicture(path=path, mislabelled=self._mislabelled, limits=self._limits, spare=spare)


def build(options: Options) -> ImageReader:
    return ImageReader(options)


def tiny() -> ImageReader:
    return ImageReader(Options())
