"""Rows of the table as items whose pictures open when asked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from mmrerank.ingest.files import path_of
from mmrerank.parts import make
from mmrerank.protocols import Reader
from mmrerank.readers import is_placeholder
from mmrerank.store.manifest import Root
from mmrerank.store.records import FIXED
from mmrerank.types import ImageHandle, Item

logger = logging.getLogger(__name__)
_FIXED = frozenset(FIXED.names)  # pyarrow makes the list anew each time it is asked


class ItemReader:
    """Makes items of rows; knows where their files lie."""

    def __init__(self, roots: Sequence[Root]) -> None:
        self._roots = tuple(roots)
        self._path = lru_cache(maxsize=4096)(partial(path_of, roots=self._roots))  # a table's rows share one file

    def item(self, fields: Mapping[str, Any]) -> Item:
        """The item of one row's scalar fields."""
        return Item(
            item_id=fields["item_id"],
            document_id=fields["document_id"],
            page_number=fields["page_number"],
            image=self._image(fields),
            text=fields["text"],
            metadata={name: value for name, value in fields.items() if name not in _FIXED and value is not None},
        )

    def path(self, fields: Mapping[str, Any]) -> Path:
        """Where the file of the item lies."""
        return self._path(fields["file"])

    def _image(self, fields: Mapping[str, Any]) -> ImageHandle | None:
        return _reader(fields["reader"]).handle(self.path(fields), fields["fragment"])


def place_of(item: Item) -> str:
    """Where a page stands, for people: its document and number, and what `headings_of` says; the id of what is no page.

    >>> place_of(Item(item_id="r.pdf#page=9", document_id="r.pdf", page_number=9, metadata={"page_label": "v", "section": "Tides"}))
    'r.pdf, page 9, printed v, Tides'
    """
    if item.page_number is None:
        return item.item_id
    return ", ".join(filter(None, (item.document_id, f"page {item.page_number}", headings_of(item))))


def headings_of(item: Item) -> str:
    """What a document says of one of its pages: the number printed on it, the title, the path in the contents; "" where it is silent,
    or has only what a program put in."""
    fields = item.metadata
    names = [str(fields.get(name) or "") for name in ("title", "section")]
    label = f"printed {fields['page_label']}" if fields.get("page_label") else ""
    return ", ".join(filter(None, (label, ": ".join(name for name in names if not is_placeholder(name)))))


@lru_cache(maxsize=32)
def _reader(name: str) -> Reader:
    reader: Reader = make(name, station="readers")
    return reader
