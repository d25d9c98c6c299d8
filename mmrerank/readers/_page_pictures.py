"""Which picture files are pages of a document: the folder is the document, the number in a file's name is the page's.

A picture is taken for a page where its name says so, as `page_01.png`, `slide-3.jpg` or `report page 7.tif` do; a bare number is
not enough, since cameras and scanners number photos too. With `pages="all"` every picture is one, in the order of the names.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeAlias

from mmrerank.readers._files import PICTURE_SUFFIXES

Pages: TypeAlias = Literal["auto", "all", "never"]
_PAGE = re.compile(r"(?:.*[\W_])?(?:page|pg|slide|folio|seite)[\W_]*(\d{1,5})", re.IGNORECASE)


def number_of(path: Path, pages: Pages) -> int | None:
    """The number of the page, from 1; None where the picture is no page. Names that count from 0 are moved up by one."""
    if pages == "never":
        return None
    if pages == "all":
        return _in_order(path.parent, path.parent.stat().st_mtime_ns).get(path.name)
    match = _PAGE.fullmatch(path.stem)
    if match is None:
        return None
    digits = match[1]
    zeroth = path.with_name(f"{path.stem[: match.start(1)]}{'0' * len(digits)}{path.suffix}")
    return int(digits) + (not int(digits) or zeroth.exists())


def document_of(path: Path, item_id: str) -> str:
    """The id of the document that a page picture belongs to: what its item id has before the file's name."""
    return item_id.rpartition("/")[0] or path.parent.name or item_id


@lru_cache(maxsize=64)
def _in_order(folder: Path, changed_ns: int) -> dict[str, int]:
    """File name -> place among the pictures of the folder, numbers in names in numerical order."""
    names = [file.name for file in folder.iterdir() if file.suffix.lower() in PICTURE_SUFFIXES]
    return {name: number for number, name in enumerate(sorted(names, key=_natural), 1)}


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdecimal() else (-1, piece.lower()) for piece in re.split(r"(\d+)", name)]
