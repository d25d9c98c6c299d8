"""Marks on items: a query that leans towards those marked as good and away from those marked as bad.

Where an encoder of the collection takes pictures, good items join the query with their pictures and bad ones are excluded by
theirs. Where only text is searched, the words of good items join the query's. A bad item itself is never found again.
Source: the positive and negative examples of vector databases; relevance feedback, Rocchio 1971.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmrerank.collection.version import CollectionVersion
from mmrerank.errors import InputError
from mmrerank.store.filters import quoted
from mmrerank.types import ImageHandle, Item, Query

WORDS = 60  # of the text of a good item


def marked(
    version: CollectionVersion,
    *,
    positive: Sequence[str] = (),
    negative: Sequence[str] = (),
    text: str | None = None,
    images: tuple[ImageHandle, ...] = (),
    filter: str | None = None,
    **fields: Any,
) -> Query:
    """The query with these marks; of marks alone, a query for more like the good items.

    Args:
        text, images, filter: of the query as it would be without marks, as is what else is passed.

    Raises:
        InputError: an item is not in the collection or has nothing to be like, or nothing says what to find.
    """
    good, bad = [version.item(i) for i in positive], [version.item(i) for i in negative]
    condition = _without(filter, negative) if negative else filter
    if any("image" in encoder.takes for encoder in version.encoders()):
        pictures = (*images, *(_picture(item) for item in good))
        excluded = (*fields.pop("exclude_images", ()), *(_picture(item) for item in bad))
        return Query(text=text, images=pictures, exclude_images=excluded, filter=condition, **fields)
    words = " ".join([text or "", *(_words(item) for item in good)]).strip()
    return Query(text=words or None, images=images, filter=condition, **fields)


def _picture(item: Item) -> ImageHandle:
    if item.image is None:
        raise InputError(f"{item.item_id!r} has no picture that others could be like")
    return item.image


def _words(item: Item) -> str:
    words = (item.text or "").split()
    if not words:
        raise InputError(f"{item.item_id!r} has no text that others could be like")
    return " ".join(words[:WORDS])


def _without(condition: str | None, item_ids: Sequence[str]) -> str:
    ids = ", ".join(map(quoted, item_ids))
    return f"item_id NOT IN ({ids})" + (f" AND ({condition})" if condition else "")
