"""How an item is shown to a model: as its picture, its text, or both.

`auto` chooses by rule, per item and query: no text -> the picture; the query asks after a table, chart, figure, colour or
layout -> both; else the text. For many questions over documents the text layer beats the pixels.

Source: ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from PIL import Image

from mmrerank.errors import InputError
from mmrerank.types import ImageHandle, Item

Shown: TypeAlias = Literal["image", "text", "both"]
Asked: TypeAlias = Literal["auto", "image", "text", "both"]
LOOKS = re.compile(
    r"\b(tables?|charts?|figures?|fig|graphs?|plots?|diagrams?|drawings?|pictures?|photos?|images?|maps?|logos?|icons?|bars?|"
    r"columns?|rows?|axis|legend|colou?rs?|red|green|blue|yellow|orange|purple|shown|look|layout|left|right|top|bottom)\b",
    re.IGNORECASE,
)


def shown_as(item: Item, question: str, asked: Asked) -> Shown:
    """How this item is shown for this question; what it lacks is left out of `both`.

    Raises:
        InputError: it has neither a picture nor a text, or not the one that was asked for.
    """
    has = {"text": bool((item.text or "").strip()), "image": item.image is not None}
    if asked == "auto":
        wanted: Shown = "both" if LOOKS.search(question) else "text" if has["text"] else "image"
    else:
        wanted = asked
    if wanted == "both" and all(has.values()):
        return "both"
    if wanted == "both":
        wanted = "text" if has["text"] else "image"
    if not has[wanted]:
        neither = not any(has.values())
        raise InputError("it has neither a picture nor a text" if neither else f"it has no {'picture' if wanted == 'image' else 'text'}")
    return wanted


def choices(shown: Iterable[tuple[str, Shown]]) -> Iterator[str]:
    """What was chosen, one line for each way, from (item_id, how) pairs."""
    pairs = list(shown)
    for way in ("image", "text", "both"):
        ids = [item_id for item_id, how in pairs if how == way]
        if ids:
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            yield f"shown as {way}: {', '.join(ids[:5])}{more}"


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
