"""Pictures that a caller has, and queries made of them: `picture("door.jpg")`, `query_of("the same, but in green", image="door.jpg")`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, Union, runtime_checkable

import numpy as np

from mmrerank.errors import FormatError, InputError
from mmrerank.handles import check_pixels, of_pixels
from mmrerank.json_io import picture_from
from mmrerank.parts import as_tuple
from mmrerank.types import ImageHandle, Query

if TYPE_CHECKING:
    from PIL.Image import Image


@runtime_checkable
class ReadableFile(Protocol):
    """A file that is open for reading, or one in memory."""

    def read(self, size: int = -1, /) -> Any: ...

    def seek(self, offset: int, whence: int = 0, /) -> Any: ...

    def tell(self) -> int: ...


PictureSource: TypeAlias = Union[
    str, "os.PathLike[str]", bytes, bytearray, memoryview, "np.ndarray[Any, Any]", ReadableFile, "Image", ImageHandle
]


@dataclass(frozen=True, slots=True)
class PilPicture:
    """A PIL picture of the caller's."""

    picture: Image

    def open(self) -> Image:
        """A copy: RGB, upright, transparency on white.

        Raises:
            FormatError: it has no pixels, its file is closed, or what is still to be read of it is damaged.
        """
        from PIL import ImageOps

        from mmrerank.handles import as_rgb

        height, width = self.picture.height, self.picture.width
        if not height or not width:
            raise FormatError(f"has no pixels: it is {height} high and {width} wide", path="a PIL picture")
        try:
            return as_rgb(ImageOps.exif_transpose(self.picture))
        except Exception as error:  # broken bytes make Pillow raise nearly any type
            raise FormatError(f"cannot be decoded: {error}", path="a PIL picture") from error


@dataclass(frozen=True, slots=True)
class ArrayPicture:
    """A picture of the caller's as an array: (height, width), (height, width, 3) or (height, width, 4)."""

    values: np.ndarray[Any, Any] = field(repr=False)

    def open(self) -> Image:
        """A copy: RGB, transparency on white."""
        return of_pixels(self.values)


def picture(source: PictureSource) -> ImageHandle:
    """The picture that a path, a `file://` address, a page of a PDF (`report.pdf#page=3`), a data URI, bytes, an open file, a numpy array
    or a PIL picture stands for.

    It is opened when asked for; a file that is missing or broken is an error then. A handle comes back as it is.

    Raises:
        InputError: none of these, or a URL: nothing is fetched from a network.
        ShapeError: an array is no picture.
    """
    from PIL import Image

    from mmrerank.readers import BytesPicture

    if isinstance(source, str | os.PathLike):
        return picture_from(os.fsdecode(source), Path())
    if isinstance(source, bytes | bytearray | memoryview):
        return BytesPicture(data=bytes(source), name="bytes")
    if isinstance(source, Image.Image):
        return PilPicture(source)
    if isinstance(source, np.ndarray):
        check_pixels(source)
        return ArrayPicture(source)
    if isinstance(source, ReadableFile):
        return BytesPicture(data=_content(source), name="an open file")
    if callable(getattr(source, "open", None)):
        return source
    expected = "a path, a data URI, bytes, an open file, a numpy array or a PIL picture"
    raise InputError(f"expected {expected}; got {type(source).__name__}")


def _content(file: ReadableFile) -> bytes:
    """All bytes of an open file, which stands afterwards where it stood."""
    try:
        place = file.tell()
        file.seek(0)
        data = file.read()
        file.seek(place)
    except (OSError, ValueError) as error:
        raise InputError(f"the open file of a picture cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise InputError("the open file of a picture gives text", hint="Open it in binary mode: open(path, 'rb').")
    return data


def query_of(
    query: Query | str | None = None,
    *,
    image: Any = None,
    exclude_text: str | Sequence[str] = (),
    exclude_image: Any = (),
    filter: str | None = None,
) -> Query:
    """The query that a text, pictures, exclusions and a filter make; a whole Query comes back as it is.

    Args:
        query: a text, or a Query, which then stands alone.
        image, exclude_image: one picture or is_list, each as `picture` takes it.

    Raises:
        InputError: a whole Query comes with parts beside it, or there is nothing to look for.

    >>> query_of("a red door", exclude_text="window").exclude_text
    ('window',)
    """
    images, exclusions = _pictures(image), _pictures(exclude_image)
    if not isinstance(query, Query):
        texts = as_tuple(exclude_text)
        return Query(text=query, images=images, exclude_text=texts, exclude_images=exclusions, filter=filter)
    if images or exclusions or exclude_text or filter is not None:
        raise InputError(
            "a whole Query was given with parts of one beside it", hint="Put pictures, exclusions and the filter into the Query."
        )
    return query


def _pictures(values: Any) -> tuple[ImageHandle, ...]:
    """Handles of one picture or several; bytes are one picture and no row of numbers."""
    if values is None:
        return ()
    is_list = isinstance(values, list | tuple)
    return tuple(map(picture, values)) if is_list else (picture(values),)
