"""Numbers printed at head or foot of pages, read where the PDF has no labels of its own."""

from __future__ import annotations

import pytest

from mmrerank.readers._page_numbers import numbered
from mmrerank.types import Failure, Item, ReadItem


def labels(texts: list[str | None], **metadata: str) -> list[str | None]:
    """What is read as printed on pages of these texts; None of a text: the page failed."""
    entries = [
        Failure(path=f"d#page={n}", reason="torn")
        if text is None
        else ReadItem(item=Item(item_id=f"d#page={n}", document_id="d", page_number=n, text=text, metadata=metadata), content_hash="")
        for n, text in enumerate(texts, 1)
    ]
    read = list(numbered(entries))
    assert [type(entry) for entry in read] == [type(entry) for entry in entries]
    return [entry.item.metadata.get("page_label") for entry in read if isinstance(entry, ReadItem)]


def test_numbers_at_the_foot_go_on_from_page_to_page() -> None:
    assert labels(["Cover", "Thanks\nii", "Preface\niii", "Start\n1", "More\n2", "End\n3"]) == [None, "ii", "iii", "1", "2", "3"]


@pytest.mark.parametrize(
    "foot",
    ["- {} -", "Page {} of 30", "{} | Annual Report", "Annual Report | {}", "Seite {}", "{}/30", "A-{}", "Version 7 of May, page {}"],
)
def test_forms_of_a_foot(foot: str) -> None:
    read = labels(["Cover", "Contents", *(f"Some words of a page.\n{foot.format(n)}" for n in (1, 2, 3))])
    assert read == [None, None, *([f"A-{n}" for n in (1, 2, 3)] if foot.startswith("A") and "-" in foot else ["1", "2", "3"])]


def test_a_head_counts_too() -> None:
    assert labels(["Cover", "1\nThe pump.\nIt runs.\nAlways.", "2\nThe valve.\nIt is shut.\nNever."]) == [None, "1", "2"]


def test_a_number_that_no_neighbour_goes_on_with_is_none() -> None:
    assert labels(["Costs\n12", "Sales\n40", "Staff\n7"]) == [None, None, None]


def test_the_number_of_the_page_itself_is_no_label() -> None:
    assert labels(["One\n1", "Two\n2", "Three\n3"]) == [None, None, None]


def test_what_the_file_says_stands() -> None:
    assert labels(["Cover", "Start\n1", "More\n2"], page_label="X") == ["X", "X", "X"]


def test_a_page_that_failed_breaks_nothing() -> None:
    assert labels(["Cover", "Start\n1", None, "End\n3", "Index\n4"]) == [None, None, "3", "4"]
