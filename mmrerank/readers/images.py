"""Reads picture files: one file is one item.

JPEG (with MPO), PNG, WebP, GIF, BMP and TIFF; of several frames the first. A file whose content belongs to another suffix is
refused unless `mislabelled="accept"`, because a folder of renamed files usually means that something else went wrong too.
Cost: one read for the hash; nothing is decoded until the picture is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmrerank.errors import FormatError
from mmrerank.parts import printed
from mmrerank.readers._files import PICTURE_SUFFIXES, hash_of, opened, read_bytes
from mmrerank.readers._pictures import LIMITS, FilePicture, Limits, Mislabelled, inspect
from mmrerank.types import Found, ImageHandle, Item


@dataclass(frozen=True, kw_only=True)
class Options:
    mislabelled: Mislabelled = "refuse"  # a PNG named .jpg
    max_pixels: int = LIMITS.max_pixels
    max_bytes: int = LIMITS.max_bytes


class ImageReader:
    """Picture files -> items with `height` and `width` (pixels, upright) as metadata."""

    suffixes = frozenset(PICTURE_SUFFIXES)

    def __init__(self, options: Options) -> None:
        self.name = printed("images", options)
        self._mislabelled = options.mislabelled
        self._limits = Limits(max_pixels=options.max_pixels, max_bytes=options.max_bytes)

    def count(self, path: Path) -> int:
        """1 for a non-empty file; FormatError for anything else."""
        opened(path, max_bytes=self._limits.max_bytes).close()
        return 1

    def read(self, path: Path, item_id: str) -> Iterator[Found]:
        """The one item of this file.

        Raises:
            FormatError: its header cannot be accepted: see `inspect`. Damage further on shows when the picture is opened.
        """
        data = read_bytes(path, max_bytes=self._limits.max_bytes)
        found = inspect(data, path=path, suffix=path.suffix, mislabelled=self._mislabelled, limits=self._limits)
        height, width = found.size
        item = Item(item_id=item_id, image=self._picture(path), metadata={"height": height, "width": width})
        yield Found(item=item, content_hash=hash_of(data))

    def handle(self, path: Path, fragment: str) -> ImageHandle:
        """The picture of this file; FormatError for a fragment, since a picture file has no parts."""
        if fragment:
            raise FormatError(f"a picture file has no part {fragment!r}", path=path)
        return self._picture(path)

    def _picture(self, path: Path) -> FilePicture:
        return FilePicture(path=path, mislabelled=self._mislabelled, limits=self._limits)


def build(options: Options) -> ImageReader:
    return ImageReader(options)


def tiny() -> ImageReader:
    return ImageReader(Options())
