"""Pages for the mini MLLM: cards with a picture, a large number and the picture's name in words."""

from __future__ import annotations

import textwrap
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tools.mini_clip.data import Pixels

WIDTH_PX, HEIGHT_PX = 180, 108  # 5 x 3 tokens
LETTER_PX, NUMBER_PX, LINE_LETTERS = 12, 44, 28


def draw_card(picture: Pixels, words: str, number: int) -> Pixels:
    """(108, 180, 3) page: the picture left, the number beside it, the words below, on white."""
    page = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), "white")
    page.paste(Image.fromarray(picture), (4, 2))
    draw = ImageDraw.Draw(page)
    draw.text((130, 38), str(number), fill="black", font=_font(NUMBER_PX), anchor="mm")
    for n, line in enumerate(textwrap.wrap(words, LINE_LETTERS)[:2]):
        draw.text((4, 77 + n * (LETTER_PX + 2)), line, fill="black", font=_font(LETTER_PX))
    return np.asarray(page)


@cache
def _font(size_px: int) -> Any:
    return ImageFont.load_default(size_px)
