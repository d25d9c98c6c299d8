"""Pictures of items as a browser shows them."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

from PIL import Image

from mmrerank.errors import FormatError
from mmrerank.readers.pdf import PagePicture
from mmrerank.service._failures import NoSuchThing, RequestRefused
from mmrerank.types import Item

QUALITY = 88


def as_jpeg(item: Item, side_px: int) -> bytes:
    """The picture of an item as JPEG, its longer side at most `side_px`; a page is rendered no larger than that.

    Raises:
        NoSuchThing: it has none.
        RequestRefused: it cannot be opened; says why without its place on this machine.
    """
    handle = item.image
    if handle is None:
        raise NoSuchThing(f"the item {item.item_id!r} has no picture", param="id")
    if isinstance(handle, PagePicture):
        handle = replace(handle, max_side_px=min(handle.max_side_px, side_px))
    try:
        picture = handle.open()
    except FormatError as error:
        raise RequestRefused(410, f"the picture of {item.item_id!r} cannot be opened: {error.reason}", param="id") from error
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    out = BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
