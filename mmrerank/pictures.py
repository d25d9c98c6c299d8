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

Given: TypeAlias = Union[str, Path, bytes, bytearray, memoryview, "Image", ImageHandle]


@dataclass(frozen=True, slots=True)
class Held:
    """A PIL picture of the caller's."""

    picture: Image

    def open(self) -> Image:
        """A copy: RGB, upright, transparency on white."""
        from PIL import ImageOps

        from mmrerank.handles import as_rgb

        return as_rgb(ImageOps.exif_transpose(self.picture))


def picture(given: Given) -> ImageHandle:
    """The picture that a path, a page of a PDF (`report.pdf#page=3`), a data URI, bytes or a PIL picture stands for.

    It is opened when asked for; a file that is missing or broken is an error then. A handle comes back as it is.

    Raises:
        InputError: none of these, or a URL: nothing is fetched from a network.
    """
    from PIL import Image

    from mmrerank.readers import BytesPicture

    if isinstance(given, str | Path):
        return _named(str(given))
    if isinstance(given, bytes | bytearray | memoryview):
        return BytesPicture(data=bytes(given), name="bytes")
    if isinstance(given, Image.Image):
        return Held(given)
    if callable(getattr(given, "open", None)):
        return given
    raise InputError(f"expected a path, a data URI, bytes or a PIL picture; got {type(given).__name__}")


def _named(named: str) -> ImageHandle:
    if "://" in named and not named.startswith("data:"):
        raise InputError(f"{named[:100]} lies on a network, and nothing is fetched from there", hint="Give a path, a data URI or bytes.")
    return picture_from(named, Path())
