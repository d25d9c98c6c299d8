"""Which picture files are pages of a document: the folder is the document, the number in a file's name is the page's.

A picture is taken for a page where its name says so, as `page_01.png`, `slide-3.jpg` or `report page 7.tif` do; a bare number is
not enough, since cameras and scanners number photos too. Where the names of a folder begin in several ways, as `invoice_page_1.png`
and `contract_page_1.png` do, each way is a document of its own. With `pages="all"` every picture is a page of its folder, in the
order of the names.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from mmrerank.readers._files import RACY_NS
from mmrerank.readers._kinds import PICTURE_SUFFIXES

_Reading: TypeAlias = Callable[[Path], dict[str, int]]
Pages: TypeAlias = Literal["auto", "all", "never"]
_PAGE = re.compile(r"(?:(?P<stem>.*)[\W_])?(?P<word>page|pg|slide|folio|seite)[\W_]*(?P<number>\d{1,5})", re.IGNORECASE)


def is_page(path: Path) -> bool:
    """Whether the name of a picture says that it is a page."""
    return _PAGE.fullmatch(path.stem) is not None


def place_of(path: Path, item_id: str, pages: Pages) -> tuple[str, int] | None:
    """Document id and number of the page, from 1; None where the picture is no page.

    Both follow from the names of all pictures in the folder. Names that count from 0 are moved up by one. The document is what the
    item id has before the file's name, and the beginning of that name too where the folder has several beginnings.
    """
    if pages == "never" or (pages == "auto" and not is_page(path)):
        return None
    folder = item_id.rpartition("/")[0] or path.parent.name or item_id
    if pages == "all":
        number = _of_folder(_in_order, path.parent).get(path.name)
        return None if number is None else (folder, number)
    lowest = _of_folder(_lowest_numbers, path.parent)
    stem, number = _parts(path.stem)
    return f"{folder}/{stem}" if len(lowest) > 1 else folder, number + (lowest.get(stem) == 0)


def _parts(name: str) -> tuple[str, int]:
    """What the name of a page says before its number, and the number; without more than that, the word for page.

    >>> _parts("Invoice_Page_07"), _parts("Slide-3")
    (('Invoice', 7), ('slide', 3))
    """
    match = _PAGE.fullmatch(name)
    assert match is not None, name
    return (match["stem"] or "").strip(" _-.") or match["word"].lower(), int(match["number"])


def _of_folder(read: _Reading, folder: Path) -> dict[str, int]:
    """What `read` makes of the folder, kept until the folder changes; one that has just changed may change again within one tick."""
    changed_ns = folder.stat().st_mtime_ns
    return _cached_numbers(read, folder, changed_ns) if time.time_ns() - changed_ns > RACY_NS else read(folder)


@lru_cache(maxsize=64)
def _cached_numbers(read: _Reading, folder: Path, changed_ns: int) -> dict[str, int]:
    return read(folder)


def _lowest_numbers(folder: Path) -> dict[str, int]:
    """How the names of the pages in a folder begin -> the lowest number among them."""
    lowest: dict[str, int] = {}
    for stem, number in (_parts(picture.stem) for picture in _pictures(folder) if is_page(picture)):
        lowest[stem] = min(number, lowest.get(stem, number))
    return lowest


def _in_order(folder: Path) -> dict[str, int]:
    """File name -> place among the pictures of the folder, numbers in names in numerical order."""
    return {name: number for number, name in enumerate(sorted((file.name for file in _pictures(folder)), key=_natural), 1)}


def _pictures(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdecimal() else (-1, piece.lower()) for piece in re.split(r"(\d+)", name)]
