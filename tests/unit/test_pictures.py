"""Handles of what a caller has, and a clear refusal of what is none where a picture is expected."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import ColourEncoder
from PIL import Image

import mmrerank
from mmrerank import Collection, Item, Query
from mmrerank.errors import FormatError, InputError

RED = (255, 0, 0)


@pytest.fixture
def png(tmp_path: Path) -> Path:
    """A red picture, 3 px high and 5 wide."""
    path = tmp_path / "red.png"
    Image.new("RGB", (5, 3), RED).save(path)
    return path


def transparent() -> Image.Image:
    return Image.new("RGBA", (5, 3), (0, 0, 0, 0))


@pytest.mark.parametrize(
    "form",
    [
        str,
        Path,
        Path.read_bytes,
        lambda path: memoryview(path.read_bytes()),
        Image.open,
        lambda path: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode(),
        lambda path: mmrerank.picture(path),
    ],
    ids=["text", "path", "bytes", "view", "pil", "uri", "handle"],
)
def test_whatever_holds_a_picture_becomes_a_handle(png: Path, form: Callable[[Path], Any]) -> None:
    opened = mmrerank.picture(form(png)).open()
    assert (opened.mode, opened.size, opened.getpixel((0, 0))) == ("RGB", (5, 3), RED)


def test_a_pil_picture_is_shown_as_files_are_and_stays_as_it_is() -> None:
    source = transparent()
    assert mmrerank.picture(source).open().getpixel((0, 0)) == (255, 255, 255)
    assert source.mode == "RGBA"


def test_what_stands_for_no_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got int"):
        mmrerank.picture(3)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nothing is fetched"):
        mmrerank.picture("https://example.com/a.png")
    with pytest.raises(FormatError, match=r"none\.png"):
        mmrerank.picture(tmp_path / "none.png").open()


@pytest.mark.parametrize("value", ["a.png", Path("a.png"), b"\x89PNG", transparent()], ids=["text", "path", "bytes", "pil"])
def test_a_picture_that_is_no_handle_is_refused_at_once(value: Any) -> None:
    for fields in ({"images": (value,)}, {"exclude_images": (value,), "text": "a"}):
        with pytest.raises(InputError, match=r"mmrerank\.picture"):
            Query(**fields)
    with pytest.raises(InputError, match=r"mmrerank\.picture"):
        Item(item_id="a", image=value)


def test_pictures_come_in_a_tuple(png: Path) -> None:
    for alone in ("a.png", mmrerank.picture(png)):
        with pytest.raises(InputError, match="in a tuple"):
            Query(images=alone)  # type: ignore[arg-type]


def test_a_text_alone_is_one_exclusion_and_not_its_letters() -> None:
    assert Query(text="a", exclude_text="rain").exclude_text == ("rain",)  # type: ignore[arg-type]


def test_a_collection_is_searched_by_a_file(tmp_path: Path, photos: Path, colour: ColourEncoder) -> None:
    collection = Collection.create(tmp_path / "c", encoders=[colour])
    collection.add(str(photos))
    stream = io.BytesIO()
    Image.open(photos / "003.png").save(stream, "PNG")
    for source in (photos / "003.png", stream.getvalue()):
        assert collection.search(Query(images=(mmrerank.picture(source),))).hits[0].item.item_id == "003.png"


@pytest.mark.parametrize(
    ("values", "colour"),
    [
        (np.full((3, 5, 3), (255, 0, 0), np.uint8), RED),
        (np.full((3, 5, 3), (1.0, 0.0, 0.0)), RED),
        (np.full((3, 5, 3), (65535, 0, 0), np.uint16), RED),
        (np.full((3, 5, 4), (0, 0, 0, 0), np.uint8), (255, 255, 255)),
        (np.full((3, 5), 128, np.uint8), (128, 128, 128)),
        (np.full((3, 5, 1), 128, np.uint8), (128, 128, 128)),
        (np.ones((3, 5), bool), (255, 255, 255)),
        (np.full((3, 5), 200, np.int64), (200, 200, 200)),
    ],
)
def test_an_array_is_a_picture_and_stays_as_it_is(values: Any, colour: tuple[int, ...]) -> None:
    before = values.copy()
    opened = mmrerank.picture(values).open()
    assert (opened.mode, opened.size, opened.getpixel((2, 1))) == ("RGB", (5, 3), colour)
    assert np.array_equal(values, before)


@pytest.mark.parametrize(
    "values", [np.zeros((0, 5, 3)), np.zeros((3, 4, 5), np.uint8), np.zeros(3), np.zeros((2, 3, 4, 3)), np.array([["a"]])]
)
def test_an_array_that_is_no_picture_is_refused(values: Any) -> None:
    with pytest.raises(InputError, match="the array of a picture"):
        mmrerank.picture(values)


def test_an_open_file_is_read_from_its_beginning_and_left_where_it_stood(png: Path) -> None:
    file = io.BytesIO(png.read_bytes())
    file.seek(0, io.SEEK_END)
    assert mmrerank.picture(file).open().getpixel((0, 0)) == RED
    assert file.tell() == len(png.read_bytes())
    with png.open("rb") as real:
        assert mmrerank.picture(real).open().size == (5, 3)
    with (png.parent / "words.txt").open("w+") as words, pytest.raises(InputError, match="binary mode"):
        mmrerank.picture(words)


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused_as_a_query(size: tuple[int, int]) -> None:
    with pytest.raises(FormatError, match="has no pixels"):
        mmrerank.picture(Image.new("RGB", size)).open()


def test_a_picture_whose_file_is_closed_or_cut_short_is_an_error_of_ours(png: Path) -> None:
    picture = Image.open(png)
    picture.close()
    cut = Image.open(io.BytesIO(png.read_bytes()[:-30]))
    for broken in (picture, cut):
        with pytest.raises(FormatError, match="cannot be decoded"):
            mmrerank.picture(broken).open()
