"""Handles of pictures that a caller has: `Query(images=(picture("door.jpg"),))`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

from mmrerank.errors import InputError
from mmrerank.json_io import picture_from
from mmrerank.types import ImageHandle

if TYPE_CHECKING:
    from PIL.Image import Image

PictureSource: TypeAlias = Union[str, Path, bytes, bytearray, memoryview, "Image", ImageHandle]


@dataclass(frozen=True, slots=True)
class PilPicture:
    """A PIL picture of the caller's."""

    picture: Image

    def open(self) -> Image:
        """A copy: RGB, upright, transparency on white."""
        from PIL import ImageOps

        from mmrerank.handles import as_rgb

        return as_rgb(ImageOps.exif_transpose(self.picture))


def picture(source: PictureSource) -> ImageHandle:
    """The picture that a path, a page of a PDF (`report.pdf#page=3`), a data URI, bytes or a PIL picture stands for.

    It is opened when asked for; a file that is missing or broken is an error then. A handle comes back as it is.

    Raises:
        InputError: none of these, or a URL: nothing is fetched from a network.
    """
    from PIL import Image

    from mmrerank.readers import BytesPicture

    if isinstance(source, str | Path):
        return _from_name(str(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesPicture(data=bytes(source), name="bytes")
    if isinstance(source, Image.Image):
        return PilPicture(source)
    if callable(getattr(source, "open", None)):
        return source
    raise InputError(f"expected a path, a data URI, bytes or a PIL picture; got {type(source).__name__}")


def _from_name(source: str) -> ImageHandle:
    if "://" in source and not source.startswith("data:"):
        raise InputError(f"{source[:100]} lies on a network, and nothing is fetched from there", hint="Give a path, a data URI or bytes.")
    return picture_from(source, Path())
