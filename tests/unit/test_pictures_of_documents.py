"""Where the picture of a document is found: in metadata as readers, vector stores, tables and frameworks write it, or why it is not."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
import pytest
from makers import coloured
from PIL import Image

from mmrerank.documents import picture_in, whole_number
from mmrerank.errors import FormatError

PAGES = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]


def png(number: int = 3) -> bytes:
    stream = io.BytesIO()
    coloured(number).save(stream, "PNG")
    return stream.getvalue()


def colour_of(fields: dict[str, Any], folder: Path | None = None) -> tuple[int, ...] | str | None:
    """The colour in the middle of the picture that is found, None where there is none, or why it cannot be had."""
    handle = picture_in(fields, folder)
    if handle is None:
        return None
    try:
        image = handle.open()
    except FormatError as error:
        return error.message
    colour = image.getpixel((image.width // 2, image.height // 2))
    assert isinstance(colour, tuple)
    return colour


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a place")
    pages = [Image.new("RGB", (60, 80), colour) for colour in PAGES]
    pages[0].save(folder / "p.pdf", save_all=True, append_images=pages[1:])
    coloured(3).save(folder / "a b.png")
    (folder / "rows.jsonl").write_text(json.dumps({"key": "k3", "text": "x", "image": base64.b64encode(png()).decode()}) + "\n")
    with tarfile.open(folder / "t.tar", "w") as tar:
        member = tarfile.TarInfo("k3.png")
        member.size = len(png())
        tar.addfile(member, io.BytesIO(png()))
    return folder


def close(colour: Any, page: int) -> bool:
    return isinstance(colour, tuple) and all(abs(a - b) < 12 for a, b in zip(colour, PAGES[page - 1], strict=True))


@pytest.mark.parametrize("number", [2, 2.0, "2", " 2.0 ", np.int64(2), np.float32(2.0), np.uint8(2)])
def test_a_page_number_is_read_however_it_is_written(place: Path, number: Any) -> None:
    assert close(colour_of({"file_path": str(place / "p.pdf"), "page_number": number}), 2)


@pytest.mark.parametrize("number", [0, -1, 2.5, "two", True, [2]])
def test_a_page_number_that_is_none_is_said(place: Path, number: Any) -> None:
    message = colour_of({"file_path": str(place / "p.pdf"), "page_number": number})
    assert isinstance(message, str)
    assert "page_number is a whole number from 1" in message


@pytest.mark.parametrize("label", ["2", 2])
def test_a_label_is_the_number_where_the_document_has_no_labels(place: Path, label: Any) -> None:
    fields = {"file_path": str(place / "p.pdf"), "page_label": label}
    assert close(colour_of(fields), 2)
    assert close(colour_of({**fields, "page_number": 3}), 3)
    assert "none of 3 pages bears the label '9'" in str(colour_of({**fields, "page_label": "9"}))


def with_labels(source: Path, target: Path, labels: str) -> None:
    """A copy of a PDF whose catalogue numbers its pages so."""
    document = pypdfium2.PdfDocument(source)
    document.save(target, version=14)
    document.close()
    data = target.read_bytes()
    marker = b"/Type/Catalog"
    assert marker in data
    target.write_bytes(data.replace(marker, marker + labels.encode(), 1))


def test_a_label_is_what_the_document_prints_and_no_number(place: Path, tmp_path: Path) -> None:
    with_labels(place / "p.pdf", tmp_path / "roman.pdf", "/PageLabels<</Nums[0<</S/r>>1<</S/D>>]>>")  # i, 1, 2
    fields = {"file_path": str(tmp_path / "roman.pdf")}
    assert close(colour_of({**fields, "page_label": "i"}), 1)
    assert close(colour_of({**fields, "page_label": "1"}), 2)
    assert close(colour_of({**fields, "page_label": "2"}), 3)
    with_labels(place / "p.pdf", tmp_path / "twice.pdf", "/PageLabels<</Nums[0<</S/D>>2<</S/D>>]>>")  # 1, 2, 1
    assert "bear the label '1'" in str(colour_of({"file_path": str(tmp_path / "twice.pdf"), "page_label": "1"}))


def test_a_pdf_without_a_page_is_no_picture(place: Path) -> None:
    assert picture_in({"source": str(place / "p.pdf")}, None) is None
    assert picture_in({"source": str(place / "p.pdf"), "page_number": None, "page_label": ""}, None) is None
    assert picture_in({"source": str(place / "p.pdf"), "page_number": float("nan")}, None) is None


@pytest.mark.parametrize(
    "form",
    [
        str,
        Path,
        Path.as_uri,
        lambda path: path.as_uri().replace("file://", "file://localhost"),
        lambda path: path.as_uri().replace("file://", "FILE:"),
        lambda path: "file://" + str(path),  # not quoted
        lambda path: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode(),
        lambda path: "DATA:image/png;name=a.png;charset=utf-8;BASE64," + base64.b64encode(path.read_bytes()).decode(),
        lambda path: " data:image/png;base64;x=1," + base64.encodebytes(path.read_bytes()).decode(),
        lambda path: "data:;base64," + base64.urlsafe_b64encode(path.read_bytes()).decode().rstrip("="),
        lambda path: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode().replace("+", "%2B").replace("=", "%3D"),
        lambda path: base64.b64encode(path.read_bytes()).decode(),
        lambda path: base64.encodebytes(path.read_bytes()).decode(),
        Path.read_bytes,
        lambda path: bytearray(path.read_bytes()),
        lambda path: io.BytesIO(path.read_bytes()),
        lambda path: np.asarray(Image.open(path).convert("RGB")),
        Image.open,
        lambda path: {"url": path.as_uri()},
        lambda path: {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()}},
        lambda path: {"bytes": path.read_bytes(), "path": None},
        lambda path: {"bytes": None, "path": str(path)},
        lambda path: {"type": "image", "source_type": "base64", "data": base64.b64encode(path.read_bytes()).decode()},
    ],
)
@pytest.mark.parametrize("key", ["image", "image_path", "image_url"])
def test_a_picture_is_found_in_every_form(place: Path, form: Callable[[Path], Any], key: str) -> None:
    assert colour_of({key: form(place / "a b.png")}) == coloured(3).getpixel((0, 0))


@pytest.mark.parametrize("form", [str, Path, Path.as_uri])
@pytest.mark.parametrize("key", ["file_path", "path", "source"])
def test_a_file_is_found_in_every_form(place: Path, form: Callable[[Path], Any], key: str) -> None:
    assert colour_of({key: form(place / "a b.png")}) == coloured(3).getpixel((0, 0))
    assert close(colour_of({key: form(place / "p.pdf"), "page_number": "3"}), 3)
    assert close(colour_of({key: str(place / "p.pdf") + "#page=2"}), 2)


def test_rows_of_tables_and_members_of_tars_are_found_by_their_id(place: Path) -> None:
    for name in ("rows.jsonl", "t.tar"):
        assert colour_of({"path": str(place / name), "item_id": f"{name}::k3"}) == coloured(3).getpixel((0, 0))
        assert colour_of({"path": name, "item_id": f"{name}::k3"}, place) == coloured(3).getpixel((0, 0))
        assert picture_in({"path": str(place / name), "item_id": name}, None) is None
    assert picture_in({"path": str(place / "notes.txt"), "item_id": "notes.txt::k3"}, None) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"image": "https://example.invalid/a.png"},
        {"image_url": {"url": "s3://bucket/a.png"}},
        {"source": "https://example.invalid/a.png?size=3"},
        {"source": "file://server/share/a.png"},
        {"file_path": "https://example.invalid/r.pdf", "page_number": 2},
        {"file_path": "https://example.invalid/r.pdf", "page_label": "2"},
    ],
)
def test_what_lies_on_a_network_is_said_to(fields: dict[str, Any]) -> None:
    assert "nothing is fetched" in str(colour_of(fields))


def test_a_web_page_or_a_text_file_has_no_picture() -> None:
    for source in ("https://example.invalid/page", "notes.txt", "a" * 300, ""):
        assert picture_in({"source": source}, None) is None


@pytest.mark.parametrize("escape", ["../a b.png", "file:///etc/a.png", "../p.pdf#page=1"])
def test_no_form_leaves_the_folder(place: Path, escape: str) -> None:
    (place / "in").mkdir(exist_ok=True)
    assert "lies outside" in str(colour_of({"image": escape}, place / "in"))
    assert "lies outside" in str(colour_of({"path": "../p.pdf", "page_label": "1"}, place / "in"))
    assert "lies outside" in str(colour_of({"path": "../t.tar", "item_id": "t.tar::k3"}, place / "in"))
    assert colour_of({"image": (place / "a b.png").as_uri()}, place) == coloured(3).getpixel((0, 0))


@pytest.mark.parametrize("value", [5, {}, {"width": 3}, [1], np.zeros((0, 3)), np.zeros((3, 40, 50), np.uint8), Image.new("RGB", (0, 0))])
def test_what_is_no_picture_is_said_when_it_is_looked_at(value: Any) -> None:
    assert isinstance(colour_of({"image": value}), str)


@pytest.mark.parametrize("empty", [None, "", float("nan")])
def test_an_empty_field_counts_as_none(place: Path, empty: Any) -> None:
    assert picture_in({"image": empty, "image_path": empty, "path": empty}, None) is None
    assert colour_of({"image": empty, "path": str(place / "a b.png")}) == coloured(3).getpixel((0, 0))


def test_numbers_that_are_none() -> None:
    assert [whole_number(value) for value in (None, "", "2.5", "-1", "9" * 12, float("inf"), np.nan, False)] == [None] * 8
