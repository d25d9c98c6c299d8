"""Small real files for the readers' tests."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrerank.types import Failure, ReadItem


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """24 x 16 (width x height) RGB, every pixel of its own colour, so that no turn or mix-up of axes goes unseen."""
    rows, columns = np.mgrid[:16, :24]
    return Image.fromarray(np.stack([columns * 10, rows * 15, (rows * 24 + columns) % 256], axis=-1).astype(np.uint8))


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """encoded(picture, "PNG", **options): the bytes of a picture file."""

    def encode(picture: Image.Image, format: str, **options: Any) -> bytes:
        buffer = BytesIO()
        picture.save(buffer, format, **options)
        return buffer.getvalue()

    return encode


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, bytes], Path]:
    """written("a.png", data): the path of a file with these bytes."""

    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def sorted_out() -> Callable[..., tuple[list[ReadItem], list[Failure]]]:
    """sorted_out(reader, path): what the reader found and what failed, under the file's own name."""

    def sort(reader: Any, path: Path) -> tuple[list[ReadItem], list[Failure]]:
        results = list(reader.read(path, path.name))
        return [r for r in results if isinstance(r, ReadItem)], [r for r in results if isinstance(r, Failure)]

    return sort


@pytest.fixture(scope="session")
def pdf_of() -> Callable[..., bytes]:
    """pdf_of(["text of page 1", ...], ...): a PDF with one page a text, and an outline, labels, a title or a password."""
    from reportlab.pdfgen.canvas import Canvas

    def make(
        texts: list[str],
        *,
        title: str | None = None,
        outline: list[tuple[int, int, str]] = (),  # (page from 1, level, title)
        roman: int = 0,  # so many pages at the front are i, ii, ...
        size: tuple[float, float] = (400, 300),
        **options: Any,
    ) -> bytes:
        buffer = BytesIO()
        canvas = Canvas(buffer, pagesize=size, invariant=True, **options)
        if title:
            canvas.setTitle(title)
        if roman:
            canvas.addPageLabel(0, style="ROMAN_LOWER", start=1)
            canvas.addPageLabel(roman, style="ARABIC", start=1)
        for number, text in enumerate(texts, 1):
            for entry, (_, level, name) in enumerate(outline := [o for o in outline if o[0] >= number]):
                if outline[entry][0] == number:
                    canvas.bookmarkPage(f"{number}-{entry}")
                    canvas.addOutlineEntry(name, f"{number}-{entry}", level)
            for line, words in enumerate(text.split("\n")):
                canvas.drawString(40, size[1] - 60 - 20 * line, words)
            canvas.showPage()
        canvas.save()
        return buffer.getvalue()

    return make
