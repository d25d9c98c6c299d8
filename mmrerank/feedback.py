"""Marks on items: a query that leans towards those marked as good and away from those marked as bad.

Where an encoder of the collection takes pictures, good items join the query with their pictures and bad ones are excluded by
theirs. Where only text is searched, the words of good items join the query's. A bad item itself is never found again.
Source: the positive and negative examples of vector databases; relevance feedback, Rocchio 1971.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.types import ImageHandle, Item, Query

WORDS = 60  # of the text of a good item


def marked(collection: Collection, *, positive: Sequence[str] = (), negative: Sequence[str] = (), query: Query | None = None) -> Query:
    """The query with these marks; without one, a query for more like the good items.

    Raises:
        InputError: an item is not in the collection or has nothing to be like, or there is neither a query nor a good item.
    """
    good, bad = [collection.item(i) for i in positive], [collection.item(i) for i in negative]
    if query is None and not good:
        raise InputError("neither a query nor an item marked as good", hint="Marks of bad items alone do not say what to find.")
    seen = any("image" in collection.encoder(entry).takes for entry in collection.manifest.encoders)
    if seen:
        pictures = tuple(_picture(item) for item in good)
        base = replace(query, images=(*query.images, *pictures), weights=()) if query else Query(images=pictures)
        asked = replace(base, exclude_images=(*base.exclude_images, *(_picture(item) for item in bad)))
    else:
        words = " ".join([query.text or "" if query else "", *(_words(item) for item in good)]).strip()
        asked = replace(query, text=words) if query else Query(text=words)
    return replace(asked, filter=_without(asked.filter, negative)) if negative else asked


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
    ids = ", ".join("'" + item_id.replace("'", "''") + "'" for item_id in item_ids)
    return f"item_id NOT IN ({ids})" + (f" AND ({condition})" if condition else "")
