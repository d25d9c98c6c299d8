"""A font for the letters of a text: Pillow's own, which has no more than English needs, or one of the system that has the others."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

from mmrerank.errors import FormatError

# By file name, as Pillow looks for them in the font folders of the system: free ones first, then what Windows and macOS bring.
SYSTEM = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-microhei.ttc"),
    *("arial.ttf", "msyh.ttc", "Arial Unicode.ttf"),
)
_NO_LETTER = "\uffff"  # never one, so every font draws its empty box
_MOST_LETTERS = 200  # looked at, to choose by


def font_for(text: str, size_px: int) -> FreeTypeFont:
    """Pillow's font where it has all letters of the text; else, of it and those of the system, the first that lacks fewest.

    Raises:
        FormatError: Pillow was built without FreeType.
    """
    letters = "".join(sorted({letter for letter in text if not letter.isascii() and not letter.isspace()}))[:_MOST_LETTERS]
    return _font(_name_for(letters) if letters else "", size_px)


@lru_cache(maxsize=512)
def _name_for(letters: str) -> str:
    best, fewest = "", len(letters) + 1
    for name in ("", *SYSTEM):
        if fewest and (lacking := _lacking(name, letters)) < fewest:
            best, fewest = name, lacking
    return best


def _lacking(name: str, letters: str) -> int:
    try:
        font = _font(name, 20)
    except OSError:  # it is not installed
        return len(letters) + 1
    box = bytes(font.getmask(_NO_LETTER))
    return sum(bytes(font.getmask(letter)) == box for letter in letters)


@lru_cache(maxsize=64)
def _font(name: str, size_px: int) -> FreeTypeFont:
    """The font of that file name; "" is Pillow's own. OSError where there is none."""
    font = ImageFont.truetype(name, size_px) if name else ImageFont.load_default(size_px)
    if not isinstance(font, FreeTypeFont):  # Pillow built without FreeType has a bitmap font of one size only
        raise FormatError("Pillow was built without FreeType, which draws the letters of a sheet", path="Pillow")
    return font
