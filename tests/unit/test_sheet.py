"""Contact sheets: geometry, what is drawn where, what happens with what cannot be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from makers import picture
from PIL import Image

from mmrerank import sheet as sheet_module
from mmrerank.errors import FormatError
from mmrerank.results import Hit, SearchResult, Stage
from mmrerank.sheet import MARGIN_PX, WIDTH_PX, _wrap, draw_sheet, font_for
from mmrerank.types import Item, Query, Ranking


class PilPicture:
    def __init__(self, image: Image.Image) -> None:
        self.image = image

    def open(self) -> Image.Image:
        return self.image


class Broken:
    def open(self) -> Image.Image:
        raise FormatError("truncated", path="x.jpg")


def hit(rank: int, image: object, **fields: object) -> Hit:
    item = Item(item_id=f"item-{rank}", image=image, **fields)  # type: ignore[arg-type]
    return Hit(rank=rank, item=item, score=0.5, raw_score=None, calibrated_score=None, reason="cosine 0.500")


def result(*hits: Hit, query: Query | None = None) -> SearchResult:
    stage = Stage(name="dense(x=1)", seconds=0.01, notes=(), ranking=Ranking(query_id="q", candidates=()))
    return SearchResult(query=query or Query(text="a red door"), hits=hits, stages=(stage,))


def has_colour(sheet: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(np.asarray(sheet, dtype=int) - colour).max(axis=2) <= 2).any())


def test_two_hits_stand_side_by_side_and_a_third_below() -> None:
    red, green, blue = (PilPicture(Image.new("RGB", (50, 40), colour)) for colour in ("#ff0000", "#00ff00", "#0000ff"))
    pixels = np.asarray(draw_sheet(result(hit(1, red), hit(2, green), hit(3, blue))), dtype=int)
    places = {name: np.argwhere(np.abs(pixels - colour).max(axis=2) <= 2) for name, colour in
              {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}.items()}  # fmt: skip
    assert places["red"][:, 1].max() < places["green"][:, 1].min()
    assert places["red"][:, 0].max() < places["blue"][:, 0].min()
    assert abs(places["red"][:, 0].min() - places["green"][:, 0].min()) <= 1


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_the_width_is_that_of_a_phone_and_nothing_is_cut(count: int) -> None:
    sheet = draw_sheet(result(*(hit(n, PilPicture(picture(n))) for n in range(1, count + 1))))
    assert sheet.width == WIDTH_PX
    assert (np.ptp(np.asarray(sheet)[-MARGIN_PX // 2 :], axis=(0, 1)) == 0).all()


def test_an_answer_without_pages_is_not_called_nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(sheet_module, "_note", lambda text, width: notes.append(text) or Image.new("RGB", (width, 40)))
    draw_sheet(result(), answer="In 1870.")
    draw_sheet(result())
    assert notes == ["no page is cited", "nothing found"]


def test_pictures_keep_their_aspect() -> None:
    pixels = np.asarray(draw_sheet(result(hit(1, PilPicture(Image.new("RGB", (300, 100), "#ff0000"))))), dtype=int)
    places = np.argwhere(np.abs(pixels - (255, 0, 0)).max(axis=2) <= 2)
    height, width = places.max(axis=0) - places.min(axis=0) + 1
    assert width / height == pytest.approx(3, rel=0.03)


def test_the_pictures_of_the_query_and_its_exclusions_are_shown() -> None:
    query = Query(
        images=(PilPicture(Image.new("RGB", (40, 40), "#ff00ff")),), exclude_images=(PilPicture(Image.new("RGB", (40, 40), "#00ffff")),)
    )
    sheet = draw_sheet(result(hit(1, PilPicture(picture(1))), query=query))
    assert has_colour(sheet, (255, 0, 255))
    assert has_colour(sheet, (0, 255, 255))


def test_a_picture_that_cannot_be_opened_leaves_its_reason() -> None:
    whole, broken = draw_sheet(result(hit(1, PilPicture(picture(1))))), draw_sheet(result(hit(1, Broken())))
    assert has_colour(broken, (180, 35, 24))
    assert not has_colour(whole, (180, 35, 24))


def test_text_is_wrapped_to_the_width_and_nothing_is_lost() -> None:
    font = font_for("", 28)
    text = "one two three " + "x" * 200 + " four"
    pieces = _wrap(text, font, 300)
    assert all(font.getlength(piece) <= 300 for piece in pieces)
    assert "".join(pieces).replace(" ", "") == text.replace(" ", "")


def test_an_item_without_picture_shows_its_text() -> None:
    empty, written = draw_sheet(result(hit(1, None, text=""))), draw_sheet(result(hit(1, None, text="The tide gauge stood still. " * 9)))
    assert written.height > empty.height


def installed(name: str) -> bool:
    try:
        return bool(sheet_module._font(name, 20))
    except OSError:
        return False


@pytest.mark.skipif(not installed("DejaVuSans.ttf"), reason="needs the font DejaVu Sans")
def test_letters_that_pillows_own_font_lacks_are_drawn_with_one_that_has_them() -> None:
    font = font_for("Маяк 1887", 28)
    assert font.getname()[0] == "DejaVu Sans"
    assert len({bytes(font.getmask(letter)) for letter in "Маяк"}) == 4, "no empty boxes"
    assert font_for("Größe", 28).getname()[0] == "DejaVu Sans"


def test_plain_letters_and_those_that_no_font_has_keep_pillows_own() -> None:
    own = font_for("", 28).getname()
    assert font_for("The gauge’s cost: 4,200", 28).getname() == own
    assert font_for("\U0010fffd", 28).getname() == own
