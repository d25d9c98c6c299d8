"""Where a page stands, as people are told."""

from __future__ import annotations

import pytest

from mmrerank.collection.items import headings_of, place_of
from mmrerank.types import Item


@pytest.mark.parametrize(
    ("metadata", "headings"),
    [
        ({}, ""),
        ({"title": "Annual report"}, "Annual report"),
        ({"page_label": "iv", "title": "Annual report", "section": "Tides > Gauges"}, "printed iv, Annual report: Tides > Gauges"),
        ({"section": "Tides", "height": 30, "title": ""}, "Tides"),
    ],
)
def test_a_page_is_told_with_its_headings(metadata: dict[str, object], headings: str) -> None:
    page = Item(item_id="r.pdf#page=4", document_id="r.pdf", page_number=4, metadata=metadata)
    assert headings_of(page) == headings
    assert place_of(page) == ", ".join(["r.pdf", "page 4", *([headings] if headings else [])])


def test_what_is_no_page_is_told_by_its_id() -> None:
    assert place_of(Item(item_id="door.jpg", metadata={"height": 3})) == "door.jpg"
