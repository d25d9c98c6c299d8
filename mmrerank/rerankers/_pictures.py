"""Pictures of candidates as a model is shown them."""

from __future__ import annotations

import math

from PIL import Image

from mmrerank.errors import InputError
from mmrerank.types import ImageHandle, Item


def picture_of(item: Item) -> Image.Image:
    """The item's picture, RGB.

    Raises:
        InputError: it has none.
        FormatError: it cannot be opened.
    """
    if item.image is None:
        raise InputError(
            f"{item.item_id!r} has no picture, and the reranker looks at pictures",
            hint="Use bm25, or ragllava or mm_r5 with modality='text'.",
        )
    return item.image.open()


def within(picture: Image.Image, max_pixels: int) -> Image.Image:
    """The picture with at most `max_pixels` pixels, aspect kept; one that is small enough comes back as it is."""
    if picture.width * picture.height <= max_pixels:
        return picture
    scale = math.sqrt(max_pixels / (picture.width * picture.height))
    size = (max(1, math.floor(picture.width * scale)), max(1, math.floor(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def open_within(handle: ImageHandle, max_pixels: int) -> Image.Image:
    """The picture of a handle, RGB, with at most `max_pixels` pixels."""
    return within(handle.open(), max_pixels)
