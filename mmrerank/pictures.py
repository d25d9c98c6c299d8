"""Pictures that a caller has, and queries made of them: `picture("door.jpg")`, `query_of("the same, but in green", image="door.jpg")`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mmrerank.errors import InputError
from mmrerank.json_io import picture_from
from mmrerank.parts import as_tuple
from mmrerank.types import ImageHandle, Query

if TYPE_CHECKING:
    from PIL.Image import Image

_URL = re.compile(r"[a-z][a-z0-9+.-]*://|(?:https?|ftp|s3|gs):/", re.IGNORECASE)  # the second is what Path leaves of a URL
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
    """The picture that a path, a `file:` URI, a page of a PDF (`report.pdf#page=3`), a data URI, bytes or a PIL picture stands for.

    It is opened when asked for; a file that is missing or broken is an error then. A handle comes back as it is.

    Raises:
        InputError: none of these, a folder, a whole PDF, or a URL: nothing is fetched from a network.
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
    place = _local(source)
    if _URL.match(place):
        raise InputError(f"{source[:100]} lies on a network, and nothing is fetched from there", hint="Give a path, a data URI or bytes.")
    handle = picture_from(place, Path())
    if not place.startswith("data:"):
        _check_place(place)
    return handle


def _local(source: str) -> str:
    """The path that a `file:` URI of this machine stands for; anything else as it is."""
    if not source.lower().startswith("file:/"):
        return source
    parts = urlsplit(source)
    path = url2pathname(parts.path) + (f"#{parts.fragment}" if parts.fragment else "")
    return path if parts.netloc in ("", "localhost") else source


def _check_place(source: str) -> None:
    """Passes where a picture may lie at this path.

    Raises:
        InputError: a folder is there, or a whole PDF is meant.
    """
    if Path(source).is_dir():
        raise InputError(f"{source} is a folder; a picture is one file", hint="Name a picture in it.")
    if source.lower().endswith(".pdf"):
        raise InputError(f"{source} is a PDF and not one picture", hint=f"Name a page of it: {source}#page=1")


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
