"""Which pictures are pages, of which document, with which number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmrerank.parts import make

Places = Callable[..., dict[str, tuple[str | None, int | None]]]


@pytest.fixture
def places(tmp_path: Path, picture: Image.Image) -> Places:
    """places(folder, names): document id and page number of each picture of that folder."""

    def of(folder: str, names: list[str], pages: str = "auto") -> dict[str, tuple[str | None, int | None]]:
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            picture.save(tmp_path / folder / name)
        reader = make(f"images(ocr=never, pages={pages})")
        items = {name: next(iter(reader.read(tmp_path / folder / name, f"{folder}/{name}"))).item for name in names}
        return {name: (item.document_id, item.page_number) for name, item in items.items()}

    return of


@pytest.mark.parametrize(
    "names", [["page_01.png", "Page 2.png", "page12.png"], ["Slide-1.png"], ["report page 7.png", "report_page_8.png"]]
)
def test_pictures_named_as_pages_are_pages_of_their_folder(places: Places, names: list[str]) -> None:
    numbers = {"page_01.png": 1, "Page 2.png": 2, "page12.png": 12, "Slide-1.png": 1, "report page 7.png": 7, "report_page_8.png": 8}
    others = ["DSC_0012.png", "0003.png", "homepage.png", "scan0001.png"]
    assert places("report", names + others) == {name: ("report", numbers[name]) for name in names} | dict.fromkeys(others, (None, None))


def test_two_documents_in_one_folder_are_told_apart(places: Places) -> None:
    names = ["invoice_page_1.png", "invoice_page_2.png", "contract-page-1.png", "page_1.png"]
    assert list(places("two", names).values()) == [("two/invoice", 1), ("two/invoice", 2), ("two/contract", 1), ("two/page", 1)]


@pytest.mark.parametrize("digits", [1, 2])
def test_names_that_count_from_zero_give_pages_from_one(places: Places, digits: int) -> None:
    names = [f"page_{n:0{digits}d}.png" for n in range(12)]
    assert list(places("deck", names).values()) == [("deck", n) for n in range(1, 13)]


def test_only_the_document_that_counts_from_zero_is_moved(places: Places) -> None:
    names = ["a_page_0.png", "a_page_1.png", "b_page_1.png"]
    assert list(places("two", names).values()) == [("two/a", 1), ("two/a", 2), ("two/b", 1)]


def test_a_picture_that_comes_later_moves_the_others(places: Places) -> None:
    assert places("deck", ["page_1.png"]) == {"page_1.png": ("deck", 1)}
    assert places("deck", ["page_0.png", "page_1.png"]) == {"page_0.png": ("deck", 1), "page_1.png": ("deck", 2)}


def test_all_pictures_or_none_where_told(places: Places) -> None:
    names = ["10.png", "9.png", "page_3.png"]
    assert places("a", names, "all") == {"9.png": ("a", 1), "10.png": ("a", 2), "page_3.png": ("a", 3)}
    assert places("b", names, "never") == dict.fromkeys(names, (None, None))
