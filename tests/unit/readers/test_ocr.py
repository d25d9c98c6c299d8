"""Pages without a text layer, read by a stand-in for Tesseract, and by itself where it is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from mmrerank.errors import MissingExtra
from mmrerank.parts import make
from mmrerank.readers import _ocr

Install = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """program(script): a shell script that answers to the name of Tesseract, whatever else is installed."""

    def install(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / _ocr.PROGRAM).write_text(f"#!/bin/sh\n{script}\n")
        (folder / _ocr.PROGRAM).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.fixture
def no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


def read(path: Path, reader: str = "pdf"):  # type: ignore[no-untyped-def]
    return list(make(reader).read(path, path.name))


def test_only_pages_without_text_are_read_by_ocr(pdf_of, written, program) -> None:  # type: ignore[no-untyped-def]
    program("cat > /dev/null; echo 'Net  income'; echo; printf 'of 2021\\n\\f'")
    first, second = read(written("a.pdf", pdf_of(["typed", ""])))
    assert (first.item.text, second.item.text) == ("typed", "Net  income\n\nof 2021")
    assert "text_source" not in first.item.metadata
    assert second.item.metadata["text_source"] == "ocr"
    never = read(written("a.pdf", pdf_of(["typed", ""])), "pdf(ocr=never)")
    assert never[0].content_hash == first.content_hash
    assert never[1].content_hash != second.content_hash  # so the page is taken up again once it has text


def test_one_thread_a_page_and_nothing_changed_here(pdf_of, written, program) -> None:  # type: ignore[no-untyped-def]
    program('cat > /dev/null; echo "$OMP_THREAD_LIMIT $@"')
    before = dict(os.environ)
    (page,) = read(written("a.pdf", pdf_of([""])), "pdf(ocr_language='eng+deu')")
    assert page.item.text == "1 stdin stdout -l eng+deu --dpi 200"
    assert dict(os.environ) == before


def test_pages_keep_their_order(pdf_of, written, program) -> None:  # type: ignore[no-untyped-def]
    program('size=$(wc -c); [ "$size" -gt 100000 ] && sleep 0.2; echo read')
    texts = ["", "one", "", "", "two", *[""] * 12, "three"]
    entries = read(written("a.pdf", pdf_of(texts)))
    assert [entry.item.page_number for entry in entries] == list(range(1, 19))
    assert [entry.item.text for entry in entries] == [text or "read" for text in texts]


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("exec sleep 30", "no text layer; OCR stopped after 0.3 s"),
        ("cat > /dev/null; echo 'Error: no such language' >&2; exit 1", "no text layer; OCR failed: Error: no such language"),
        ("cat > /dev/null; exit 3", "no text layer; OCR failed: exit 3"),
        ("exit 1", "no text layer; OCR failed: exit 1"),  # without reading its input
        ("cat > /dev/null", None),  # a blank page
    ],
)
def test_a_page_is_never_lost_by_ocr(pdf_of, written, program, script: str, note: str | None) -> None:  # type: ignore[no-untyped-def]
    program(script)
    first, second = read(written("a.pdf", pdf_of(["", "typed"])), "pdf(ocr_timeout_s=0.3)")
    assert (first.item.text, first.item.metadata.get("text_note")) == (None, note)
    assert (second.item.text, second.item.metadata.get("text_note")) == ("typed", None)


def test_without_the_program_pages_say_so(pdf_of, written, no_program) -> None:  # type: ignore[no-untyped-def]
    path = written("a.pdf", pdf_of(["", "typed"]))
    first, second = read(path)
    assert first.item.metadata["text_note"] == "no text layer; OCR (the program tesseract) is not installed"
    assert "text_note" not in second.item.metadata
    assert read(path, "pdf(ocr=never)")[0].item.metadata["text_note"] == "no text layer; OCR is off"
    with pytest.raises(MissingExtra, match="tesseract"):
        read(path, "pdf(ocr=required)")


def test_a_reading_left_half_way_ends(pdf_of, written, program) -> None:  # type: ignore[no-untyped-def]
    program("cat > /dev/null; echo read")
    entries = make("pdf").read(written("a.pdf", pdf_of([""] * 30)), "a.pdf")
    assert next(entries).item.text == "read"
    entries.close()


@pytest.mark.skipif(shutil.which(_ocr.PROGRAM) is None, reason="needs the program tesseract")
def test_tesseract_reads_a_scan(tmp_path: Path) -> None:
    picture = Image.new("RGB", (1700, 600), "white")
    ImageDraw.Draw(picture).text((100, 200), "Seal TG-204 holds 3.5 bar", fill="black", font=ImageFont.load_default(size=90))
    picture.save(tmp_path / "scan.pdf", resolution=200)
    (page,) = read(tmp_path / "scan.pdf")
    assert page.item.text == "Seal TG-204 holds 3.5 bar"


def test_a_page_picture_is_read_by_ocr_and_a_photo_is_not(picture, encoded, written, program) -> None:  # type: ignore[no-untyped-def]
    program("cat > /dev/null; echo read")
    data = encoded(picture, "PNG")
    (page,), (photo,) = read(written("x/page_1.png", data), "images"), read(written("x/photo.png", data), "images")
    assert (page.item.text, page.item.metadata["text_source"]) == ("read", "ocr")
    assert (photo.item.text, photo.item.page_number) == (None, None)
    assert page.content_hash != photo.content_hash
