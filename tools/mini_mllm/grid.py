"""The grid of SQUARE as the processor hands it to the model, without drawing the large canvas.

`mmrerank.prompting.grids` draws cells of 336 px, and the processor shrinks the whole: 50 ms. Both steps are linear and work on
rows and columns apart, so a cell is two small matrix products here. Only rounding and the rims of the marks differ.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from mmrerank.prompting.grids import Layout, draw_mark
from tools.mini_clip.data import Pixels

if TYPE_CHECKING:
    import torch

Weights: TypeAlias = npt.NDArray[np.float32]


def draw_grid(pictures: Sequence[Pixels], layout: Layout, max_pixels: int, token_px: int = 36) -> Pixels:
    """(side_px, side_px, 3) grid of square pictures, row by row, with their marks; what is left of the cells stays white."""
    import torch  # not numpy, whose matrix products take more threads than were given

    side_px = math.isqrt(max_pixels) // token_px * token_px
    light = torch.full((3, side_px, side_px), 255.0)
    for position, picture in enumerate(pictures):
        row, column = divmod(position, layout.side)
        (top, down), (left, across) = (_shrink(n, layout, side_px, picture.shape[0]) for n in (row, column))
        ink = 255 - torch.from_numpy(picture).permute(2, 0, 1).float()  # what is not white adds up
        light[:, top : top + len(down), left : left + len(across)] -= down @ ink @ across.T
        top, left, cover, mark = _mark(position, layout, side_px)
        window = light[:, top : top + len(cover), left : left + cover.shape[1]]
        window.mul_(1 - cover).add_(mark)
    return light.round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


@functools.cache
def _shrink(n: int, layout: Layout, side_px: int, picture_px: int) -> tuple[int, torch.Tensor]:
    """Where the n-th row of cells begins in the shrunk grid, and the weights (rows there, picture_px) by which a picture gets there."""
    import torch

    start, _, stop, _ = layout.cell(n)
    weights = _resizing(layout.canvas_px, side_px, Image.Resampling.BICUBIC)[:, start:stop]
    weights = weights @ _resizing(picture_px, layout.cell_px, Image.Resampling.LANCZOS)
    touched = np.flatnonzero(np.abs(weights).max(axis=1) > 1e-4)
    return int(touched[0]), torch.from_numpy(weights[touched[0] : touched[-1] + 1].copy())


@functools.cache
def _resizing(before: int, after: int, filter: Image.Resampling) -> Weights:
    """(after, before) weights by which Pillow resizes a row of pixels."""
    identity = Image.fromarray(np.eye(before, dtype=np.float32))
    return np.asarray(identity.resize((before, after), filter), dtype=np.float32)


@functools.cache
def _mark(position: int, layout: Layout, side_px: int) -> tuple[int, int, torch.Tensor, torch.Tensor]:
    """Top and left of a shrunk mark, how much of each pixel it covers, and its own light there."""
    import torch

    left, top, right, bottom = layout.mark(position)
    canvas = Image.new("RGB", (layout.canvas_px,) * 2)
    draw_mark(canvas, layout, position)
    cover = Image.new("F", canvas.size)
    ImageDraw.Draw(cover).rectangle((left, top, right - 1, bottom - 1), fill=1)
    filter = Image.Resampling.BICUBIC
    share, light = (np.array(picture.resize((side_px, side_px), filter)) for picture in (cover, canvas.convert("F")))
    rows, columns = np.flatnonzero(share.max(axis=1) > 1e-3), np.flatnonzero(share.max(axis=0) > 1e-3)
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return int(rows[0]), int(columns[0]), torch.from_numpy(share[box]), torch.from_numpy(light[box])
