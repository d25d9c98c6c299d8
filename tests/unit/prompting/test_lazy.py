"""Pictures that stay closed until a model has to look at them: told by their content, opened once, harmless where they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import picture
from PIL import Image

from mmrerank.backends._keys import choices_key
from mmrerank.backends._prefix_store import Alphabet, shared
from mmrerank.errors import FormatError
from mmrerank.handles import ContentHandle, LazyPicture
from mmrerank.prompting.items import Display, exhibit
from mmrerank.readers import BytesPicture, FilePicture
from mmrerank.rerankers import ragllava
from mmrerank.testing import FakeBackend
from mmrerank.types import Candidate, Item, Message, Query, opened


def saved_picture(path: Path, seed: int = 1) -> FilePicture:
    picture(seed, size=(40, 30)).save(path)
    return FilePicture(path=path)


def test_a_lazy_exhibit_is_opened_when_asked_for_only(tmp_path: Path) -> None:
    handle = saved_picture(tmp_path / "a.png")
    item = Item(item_id="a", image=handle, text="a caption")
    closed, open_one = exhibit(item, "x", "both", words=9, lazy=True), exhibit(item, "x", "both", words=9)
    assert closed.picture is None
    assert open_one.unopened is None
    (lazy, text) = closed.parts
    assert isinstance(lazy, LazyPicture)
    assert text == "a caption"
    assert open_one.picture is not None
    assert lazy.open().tobytes() == open_one.picture.tobytes()


def test_the_key_is_of_content_and_size_and_not_of_the_place(tmp_path: Path) -> None:
    one, twin, other = (saved_picture(tmp_path / name, seed) for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)))
    assert isinstance(one, ContentHandle)
    assert one.content_key() == twin.content_key() != other.content_key()
    assert BytesPicture(data=one.path.read_bytes()).content_key() == BytesPicture(data=twin.path.read_bytes()).content_key()
    keys = {
        exhibit(Item(item_id="a", image=one), "x", "image", words=0, max_pixels=most, lazy=True).unopened.key  # type: ignore[union-attr]
        for most in (100, 200)
    }
    assert len(keys) == 2
    picture(3, size=(41, 30)).save(one.path)
    assert one.content_key() != twin.content_key(), "the file is another one now"


def test_a_file_that_is_gone_is_said_before_the_model_is_asked(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        Display("x", "image", page_words=9, lazy=True).show(Item(item_id="a", image=FilePicture(path=tmp_path / "none.png")))


def test_a_picture_that_breaks_when_it_is_looked_at_costs_nobody_else_anything(tmp_path: Path) -> None:
    good = [Candidate(item=Item(item_id=f"{n}", image=saved_picture(tmp_path / f"{n}.png", n))) for n in range(3)]
    data = (tmp_path / "0.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[:60])
    broken = Candidate(item=Item(item_id="cut", image=FilePicture(path=tmp_path / "cut.png")))
    backend = FakeBackend(choose=lambda prompt, choices: [-1.0, -2.0])
    ranking = ragllava.build(ragllava.Options(), backend).rerank(Query(text="x"), [good[0], broken, *good[1:]])
    assert ranking.item_ids == ("0", "1", "2", "cut")
    assert ranking.candidates[-1].score is None
    assert "not asked about" in ranking.notes.reasons["cut"]
    assert ranking.notes.status == "completed"


def test_all_that_break_leave_the_order_as_it_came(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    broken = [Candidate(item=Item(item_id=name, image=FilePicture(path=tmp_path / "cut.png"))) for name in "ab"]
    ranking = ragllava.build(ragllava.Options(), FakeBackend()).rerank(Query(text="x"), broken)
    assert ranking.item_ids == ("a", "b")


def test_doubles_and_keys_take_closed_pictures() -> None:
    shown = Image.new("RGB", (3, 2), "red")
    closed = (Message(role="user", parts=(LazyPicture("k", lambda: shown), "what is it?")),)
    backend = FakeBackend()
    assert backend.choice_logprobs([closed], ["Yes"]).logprobs == backend.choice_logprobs([opened(closed)], ["Yes"]).logprobs
    assert backend.prompts[0][0].parts[0] is shown
    assert choices_key(closed, ["Yes"]) != choices_key(
        (Message(role="user", parts=(LazyPicture("l", lambda: shown), "what is it?")),), ["Yes"]
    )
    assert opened(opened(closed)) == opened(closed)


@pytest.mark.parametrize("rows", [[(1, 2, 3), (1, 2, 4, 5), (2,)], [(1,), (1, 2, 3, 4, 5, 6)]])
def test_the_nearest_row_is_the_one_that_begins_most_alike(rows: list[tuple[int, ...]]) -> None:
    alphabet = Alphabet()
    for row in rows:
        alphabet.add(row)
    for wanted in ((1, 2, 4), (1, 2, 3, 4), (9,), (2, 2), (0,), (1, 2, 4, 5, 9)):
        best = max(shared(row, wanted) for row in rows)
        assert alphabet.nearest(wanted)[1] == best
