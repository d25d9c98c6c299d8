"""What of an item a model sees: budgets for pixels and words, and candidates of which nothing can be shown."""

from __future__ import annotations

import numpy as np
import pytest
from makers import InMemory, coloured
from PIL import Image

from mmrerank.errors import FormatError, InputError
from mmrerank.prompting.items import Display, exhibit, gather, within
from mmrerank.types import Candidate, Item


class Broken:
    def open(self) -> Image.Image:
        raise FormatError("truncated", path="b.png")


BOTH = Item(item_id="both", text="one  two\nthree four", image=InMemory(coloured(1, size=(300, 200))))


def test_an_exhibit_is_the_picture_and_the_words_within_their_budgets() -> None:
    view = exhibit(BOTH, "Which year?", "both", words=3, max_pixels=15_000)
    assert (view.way, view.text) == ("both", "one two three")
    picture, text = view.parts
    assert isinstance(picture, Image.Image)
    assert (picture.size, text) == ((150, 100), "one two three")
    assert exhibit(BOTH, "Which year?", "image", words=3).parts == [coloured(1, size=(300, 200))]
    assert exhibit(BOTH, "Which year?", "text", words=1).parts == ["one"]
    assert exhibit(BOTH, "Which year?", "auto", words=1).way == "text"
    assert exhibit(BOTH, "What does the table say?", "auto", words=1).way == "both"


def test_a_picture_that_is_not_shown_is_not_opened() -> None:
    item = Item(item_id="x", text="words", image=Broken())
    assert exhibit(item, "Which year?", "text", words=9).parts == ["words"]
    with pytest.raises(FormatError, match="truncated"):
        exhibit(item, "Which year?", "both", words=9)


def test_pictures_are_made_smaller_by_one_filter() -> None:
    """Bicubic, which answers used, leaves other pixels, so that a page was not the same to a reranker and to an answer."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8))
    small = within(noise, 1350)
    assert small.tobytes() == noise.resize((30, 45), Image.Resampling.LANCZOS).tobytes()
    assert small.tobytes() != noise.resize((30, 45), Image.Resampling.BICUBIC).tobytes()
    assert within(noise, 5400) is noise


@pytest.mark.parametrize("max_pixels", [1, 7, 999, 60_001])
def test_no_picture_has_more_pixels_than_the_budget(max_pixels: int) -> None:
    for size in ((300, 200), (1, 900), (900, 2), (333, 177)):
        width, height = within(Image.new("RGB", size), max_pixels).size
        assert width * height <= max(max_pixels, width, height), "a strip of one pixel cannot get thinner"


def test_a_display_cuts_captions_and_pages_apart_and_says_what_auto_chose() -> None:
    display = Display("Which year?", "auto", page_words=3, caption_words=2)
    page, caption = (Item(item_id=f"{n}", page_number=n, text="one two three four") for n in (1, None))
    assert [display.show(item).text for item in (page, caption)] == ["one two three", "one two"]
    display.show(Item(item_id="picture", image=InMemory(coloured(2))))
    assert display.choices == ("shown as image: picture", "shown as text: 1, None")
    fixed = Display("Which year?", "text", page_words=3)
    assert fixed.show(caption).text == "one two three"
    assert fixed.choices == ()


def test_what_cannot_be_shown_costs_nobody_else_anything() -> None:
    items = [BOTH, Item(item_id="bare"), Item(item_id="broken", image=Broken()), Item(item_id="words", text="w")]
    candidates = [Candidate(item=item) for item in items]
    exhibits, obstacles = gather(candidates, Display("", "both", page_words=9).show)
    assert list(exhibits) == [0, 3]
    assert obstacles == {1: "it has neither a picture nor a text", 2: "b.png: truncated"}
    some, none = gather(candidates, lambda item: item.item_id, range(1, 3))
    assert (some, none) == ({1: "bare", 2: "broken"}, {})

    def failing(item: Item) -> str:
        raise RuntimeError("a fault in the code is not an item's")

    with pytest.raises(RuntimeError, match="fault"):
        gather(candidates, failing)


def test_an_item_that_lacks_what_was_asked_for_is_named_by_what_it_lacks() -> None:
    with pytest.raises(InputError, match="it has no text"):
        exhibit(Item(item_id="x", text=" ", image=InMemory(coloured(1))), "", "text", words=9)
    with pytest.raises(InputError, match="neither a picture nor a text"):
        exhibit(Item(item_id="x", text=" "), "", "image", words=9)


def test_what_never_had_a_picture_is_shown_by_its_words() -> None:
    assert exhibit(Item(item_id="x", text="only words"), "", "image", words=9).text == "only words"
