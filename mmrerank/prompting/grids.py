"""Pictures tiled into one square grid with numbered marks, for a model that compares them all at once.

    |8|   cell 1   |8|   cell 2   |8|        cells of `cell_px`, row by row, on white; a gutter around and between them
                                             canvas side = n cells + (n + 1) gutters; 4 x 4 of 336 and 8: 1,384 px

A mark is the cell's number, black on a white box with a black border: a bordered box in a fixed corner is not taken for
content, such as the number on a jersey. Source: that SQUARE tiles candidates and marks the cells is read in its abstract
(arXiv 2509.26330); sizes, numbers and their place are ours.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from PIL import Image, ImageDraw, ImageFont, ImageOps
from PIL.ImageFont import FreeTypeFont

from mmrerank.errors import FormatError, InputError
from mmrerank.handles import as_rgb

Box: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom lie outside

LEAST_CELL_PX = 24
LEGIBLE_PX = 12  # a mark is not drawn lower than this, whatever the cell
DIGITS = "0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything stands in a grid of `side` x `side` cells.

    >>> Layout(side=4).canvas_px
    1384
    >>> Layout(side=4).cell(5)
    (352, 352, 688, 688)
    """

    side: int
    cell_px: int = 336
    gutter_px: int = 8

    def __post_init__(self) -> None:
        if self.side < 1 or self.cell_px < LEAST_CELL_PX or self.gutter_px < 0:
            wanted = f"expected side from 1, cell_px from {LEAST_CELL_PX} and gutter_px from 0"
            raise InputError(f"{wanted}; got {self.side}, {self.cell_px} and {self.gutter_px}")

    @property
    def canvas_px(self) -> int:
        """Width and height of the grid."""
        return self.side * self.cell_px + (self.side + 1) * self.gutter_px

    @property
    def mark_px(self) -> int:
        """Height of a mark: an eighth of the cell."""
        return max(round(self.cell_px / 8), LEGIBLE_PX)

    def cell(self, position: int) -> Box:
        """The cell of a position from 0, row by row."""
        row, column = divmod(position, self.side)
        left, top = (self.gutter_px + n * (self.cell_px + self.gutter_px) for n in (column, row))
        return left, top, left + self.cell_px, top + self.cell_px

    def picture(self, position: int, size: tuple[int, int]) -> Box:
        """Where a picture of that (width, height) lies in its cell: as large as fits, in the middle."""
        left, top, _, _ = self.cell(position)
        width, height = fitted_size(size, self.cell_px)
        left, top = left + (self.cell_px - width) // 2, top + (self.cell_px - height) // 2
        return left, top, left + width, top + height

    def mark(self, position: int) -> Box:
        """The box of a position's mark, in the cell's top left corner; as wide as high, wider where the digits need it."""
        left, top, _, _ = self.cell(position)
        ink_left, _, ink_right, _ = _digit_font(self._digit_px).getbbox(str(position + 1))
        width = max(self.mark_px, math.ceil(ink_right - ink_left) + self.mark_px - self._digit_px)
        return left, top, left + min(width, self.cell_px), top + self.mark_px

    @property
    def border_px(self) -> int:
        """Width of the line around a mark."""
        return max(1, self.mark_px // 14)

    @property
    def _digit_px(self) -> int:
        return self.mark_px - 2 * self.border_px - 2 * max(1, self.mark_px // 8)


def draw_grid(pictures: Sequence[Image.Image], *, side: int | None = None, cell_px: int = 336, gutter_px: int = 8) -> Image.Image:
    """The pictures in one grid, RGB, each with its number from 1; cells left over are blank and have no mark.

    Args:
        pictures: in any mode and size; brought to RGB on white and upright.
        side: cells per row and column; the fewest that hold all pictures when None.

    Raises:
        InputError: there are no pictures or more than cells, or a size is out of range.
    """
    if not pictures:
        raise InputError("a grid needs at least one picture; got none")
    layout = Layout(side=side_for(len(pictures)) if side is None else side, cell_px=cell_px, gutter_px=gutter_px)
    if len(pictures) > layout.side**2:
        raise InputError(f"a grid of {layout.side} x {layout.side} holds {layout.side**2} pictures; got {len(pictures)}")
    canvas = Image.new("RGB", (layout.canvas_px, layout.canvas_px), "white")
    for position, picture in enumerate(pictures):
        cell_picture = fitted(picture, cell_px)
        canvas.paste(cell_picture, layout.picture(position, cell_picture.size)[:2])
        draw_mark(canvas, layout, position)
    return canvas


def side_for(count: int) -> int:
    """The side of the smallest square that holds `count` cells.

    >>> [side_for(count) for count in (1, 2, 4, 5, 9, 10, 16, 17)]
    [1, 2, 2, 3, 3, 4, 4, 5]
    """
    return math.isqrt(max(count, 1) - 1) + 1


def fitted_size(size: tuple[int, int], side_px: int) -> tuple[int, int]:
    """(width, height) at which a picture just fits a square, aspect kept.

    >>> fitted_size((300, 100), 336), fitted_size((1, 900), 336)
    ((336, 112), (1, 336))
    """
    longer = max(size)
    width, height = (max(1, round(length * side_px / longer)) for length in size)
    return width, height


def fitted(picture: Image.Image, side_px: int) -> Image.Image:
    """The picture upright, RGB, enlarged or reduced to just fit a square; one that does already stays as it is."""
    upright = as_rgb(ImageOps.exif_transpose(picture))
    size = fitted_size(upright.size, side_px)
    return upright if size == upright.size else upright.resize(size, Image.Resampling.LANCZOS)


def write_grid(grid: Image.Image, folder: Path, query_id: str) -> Path:
    """Writes a grid as PNG; an id that is no plain file name is spelled with `_` and told apart by a hash.

    Raises:
        InputError: it cannot be written there.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", query_id)[:80]
    if name != query_id:
        name += "-" + hashlib.sha256(query_id.encode()).hexdigest()[:8]
    path = folder / f"{name}.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        grid.save(path)
    except OSError as error:
        raise InputError(f"the grid of {query_id!r} cannot be written to {folder}: {error.strerror}") from error
    return path


def draw_mark(canvas: Image.Image, layout: Layout, position: int) -> None:
    """The number in the middle of its box; all digits share a baseline."""
    left, top, right, bottom = layout.mark(position)
    font, number = _digit_font(layout._digit_px), str(position + 1)
    ink_left, _, ink_right, _ = font.getbbox(number)
    _, ink_top, _, ink_bottom = font.getbbox(DIGITS)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left, top, right - 1, bottom - 1), fill="white", outline="black", width=layout.border_px)
    x = left + (right - left - (ink_right - ink_left)) / 2 - ink_left
    y = top + (bottom - top - (ink_bottom - ink_top)) / 2 - ink_top
    draw.text((round(x), round(y)), number, fill="black", font=font)


@cache
def _digit_font(height_px: int) -> FreeTypeFont:
    """Pillow's own font, the same on every machine, at the largest size whose digits are no higher than `height_px`."""
    for size_px in range(2 * height_px, 0, -1):
        font = ImageFont.load_default(size_px)
        if not isinstance(font, FreeTypeFont):  # without FreeType there is a bitmap font of one size only
            raise FormatError("Pillow was built without FreeType, which draws the marks of a grid", path="Pillow")
        _, top, _, bottom = font.getbbox(DIGITS)
        if bottom - top <= height_px:
            return font
    raise InputError(f"no font has digits of {height_px} px or less")
