"""The scanned document: typed pages drawn as grey pictures, with the flaws of an office scanner.

Each page is one JPEG at 150 dots per inch and nothing else, so the PDF has no text layer: what stands on it can be
read by OCR or by eye only. The typed text is in the source, for whoever checks.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from mmrerank.errors import FormatError
from tools.handbook.theme import font_path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WIDTH, HEIGHT = 1240, 1754  # A4 at 150 dots per inch
LEFT, TOP = 165, 150
CELL, LINE = 15.8, 37.0  # one typed character and one typed line, in pixels
PAPER, INK = 238, 46
QUALITY = 44
Page = Mapping[str, Any]


def read_ledger(path: str | Path) -> dict[str, Any]:
    """The ledger's source: `seed`, and `page` with text, tilt and what else is on each page.

    Raises:
        FormatError: the file is not TOML, or a page lacks its text.
    """
    try:
        ledger = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise FormatError(f"not TOML: {error}", path=path) from error
    for number, page in enumerate(ledger.get("page", []), start=1):
        if "text" not in page:
            raise FormatError(f"page {number} has no text", path=path)
    return ledger


def page_text(page: Page) -> str:
    """Everything that can be read on a page: typed text, stamp and note."""
    added = [page[key]["text"] for key in ("stamp", "note") if key in page]
    return "\n".join([page["text"], *added])


def _place(column: float, line: float) -> tuple[float, float]:
    return LEFT + column * CELL, TOP + line * LINE


def _type(sheet: Image.Image, text: str, rng: np.random.Generator) -> None:
    """Strike the text letter by letter; no two strikes have the same height or weight."""
    face = ImageFont.truetype(str(font_path("cmtt10.ttf")), 30)
    draw = ImageDraw.Draw(sheet)
    for row, line in enumerate(text.strip("\n").split("\n")):
        for column, letter in enumerate(line):
            if letter == " ":
                continue
            x, y = _place(column, row)
            down, weight = rng.integers(-1, 2), int(rng.integers(-18, 26))
            draw.text((x, y + int(down)), letter, font=face, fill=INK + weight)


def _sketch(sheet: Image.Image, shapes: list[list[Any]]) -> None:
    draw = ImageDraw.Draw(sheet)
    face = ImageFont.truetype(str(font_path("STIXGeneralItalic.ttf")), 34)
    for kind, *rest in shapes:
        if kind == "text":
            draw.text(_place(rest[0], rest[1]), rest[2], font=face, fill=70)
        elif kind == "disc":
            (x, y), radius = _place(rest[0], rest[1]), rest[2] * LINE
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=60, width=4)
        elif kind == "line":
            draw.line([*_place(*rest[:2]), *_place(*rest[2:])], fill=60, width=5)
        else:
            (x1, y1), (x2, y2) = _place(*rest[:2]), _place(*rest[2:])
            for k in range(0, 12, 2):
                ends = [x1 + (x2 - x1) * k / 11, y1 + (y2 - y1) * k / 11, x1 + (x2 - x1) * (k + 1) / 11, y1 + (y2 - y1) * (k + 1) / 11]
                draw.line(ends, fill=90, width=2)


def _stamp(sheet: Image.Image, stamp: Mapping[str, Any]) -> None:
    """A rubber stamp: a framed word or two, tilted, paler than the type."""
    face = ImageFont.truetype(str(font_path("DejaVuSans-Bold.ttf")), 30)
    frame = ImageDraw.Draw(sheet).multiline_textbbox((0, 0), stamp["text"], font=face, spacing=8)
    width, height = int(frame[2]) + 44, int(frame[3]) + 38
    mark = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mark)
    draw.rectangle((4, 4, width - 5, height - 5), outline=150, width=5)
    draw.multiline_text((22, 16), stamp["text"], font=face, fill=150, spacing=8, align="center")
    mark = mark.rotate(stamp["tilt"], resample=Image.Resampling.BICUBIC, expand=True)
    x, y = _place(*stamp["at"])
    sheet.paste(Image.new("L", mark.size, 60), (int(x), int(y)), mark)


def _note(sheet: Image.Image, note: Mapping[str, Any]) -> None:
    face = ImageFont.truetype(str(font_path("STIXGeneralItalic.ttf")), 38)
    ink = Image.new("L", (900, 70), 0)
    ImageDraw.Draw(ink).text((8, 8), note["text"], font=face, fill=190)
    ink = ink.rotate(2.2, resample=Image.Resampling.BICUBIC, expand=True)
    x, y = _place(*note["at"])
    sheet.paste(Image.new("L", ink.size, 50), (int(x), int(y)), ink)


def _scanned(sheet: Image.Image, tilt: float, rng: np.random.Generator) -> Image.Image:
    """The sheet as a scanner sees it: tilted, a little soft, unevenly lit, speckled, with a dark edge."""
    turned = sheet.rotate(tilt, resample=Image.Resampling.BICUBIC, fillcolor=PAPER).filter(ImageFilter.GaussianBlur(0.7))
    pixels = np.asarray(turned, dtype=np.float32)  # (height, width)
    light = np.linspace(3, -7, WIDTH, dtype=np.float32)[None, :] + np.linspace(2, -4, HEIGHT, dtype=np.float32)[:, None]
    noise = (rng.random((HEIGHT, WIDTH), dtype=np.float32) - 0.5) * 13
    edge = -90 * np.exp(-np.arange(WIDTH, dtype=np.float32) / 7)[None, :]
    pixels = pixels + light + noise + edge
    specks = rng.integers(0, (HEIGHT, WIDTH), size=(70, 2))
    pixels[specks[:, 0], specks[:, 1]] -= 110
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def scan_page(page: Page, seed: int) -> Image.Image:
    """One page as a grey picture of 1240 x 1754 pixels; the same seed gives the same picture."""
    rng = np.random.default_rng(seed)
    sheet = Image.new("L", (WIDTH, HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)
    for y in (420, 1330):  # the holes of the binder
        draw.ellipse((52, y, 90, y + 38), fill=120)
    _type(sheet, page["text"], rng)
    _sketch(sheet, page.get("sketch", []))
    if "stamp" in page:
        _stamp(sheet, page["stamp"])
    if "note" in page:
        _note(sheet, page["note"])
    return _scanned(sheet, page["tilt"], rng)


def write_scan(ledger: Mapping[str, Any], path: Path) -> None:
    """Write the ledger as a PDF whose pages are pictures and carry no text."""
    canvas = Canvas(str(path), pagesize=A4, invariant=1, pageCompression=1)
    canvas.setTitle(ledger["title"])
    for number, page in enumerate(ledger["page"], start=1):
        jpeg = io.BytesIO()
        scan_page(page, ledger["seed"] * 100 + number).save(jpeg, format="JPEG", quality=QUALITY)
        jpeg.seek(0)
        canvas.drawImage(ImageReader(jpeg), 0, 0, *A4)
        canvas.showPage()
    canvas.save()
