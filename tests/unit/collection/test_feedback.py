"""Marks become a query: pictures where pictures are searched, words elsewhere, and bad items stay away."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import ColourEncoder

from mmrerank import Collection, Query
from mmrerank.collection.feedback import marked
from mmrerank.errors import InputError


@pytest.fixture
def pictures(photos: Path, tmp_path: Path, colour: ColourEncoder) -> Collection:
    collection = Collection.create(tmp_path / "c", encoders=[colour])
    collection.add([photos])
    return collection


@pytest.fixture
def texts(tmp_path: Path) -> Collection:
    lines = {"a": "red apples in a bowl", "b": "green apples on a tree", "c": "a harbour at night", "it's": "apples"}
    (tmp_path / "t.jsonl").write_text("".join(f'{{"id": "{name}", "text": "{text}"}}\n' for name, text in lines.items()))
    collection = Collection.create(tmp_path / "t")
    collection.add([tmp_path / "t.jsonl"])
    return collection


def test_good_pictures_join_the_query_and_bad_ones_are_excluded(pictures: Collection) -> None:
    asked = marked(pictures.version, positive=["000.png", "001.png"], negative=["002.png"])
    assert len(asked.images) == 2
    assert len(asked.exclude_images) == 1
    found = [hit.item.item_id for hit in pictures.search(asked, k=9).hits]
    assert set(found[:2]) == {"000.png", "001.png"}
    assert "002.png" not in found
    assert len(found) == 8


def test_marks_add_to_a_query_and_to_its_filter(pictures: Collection) -> None:
    first = pictures.item("003.png").image
    assert first is not None
    condition = "item_id <> '004.png'"
    asked = marked(pictures.version, images=(first,), filter=condition, exclude_images=(first,), positive=["000.png"], negative=["001.png"])
    assert (len(asked.images), len(asked.exclude_images)) == (2, 2)
    found = {hit.item.item_id for hit in pictures.search(asked, k=9).hits}
    assert not found & {"001.png", "004.png"}


def test_without_pictures_the_words_of_good_items_are_searched(texts: Collection) -> None:
    asked = marked(texts.version, positive=["t.jsonl::a"], negative=["t.jsonl::it's"])
    found = [hit.item.item_id for hit in texts.search(asked, k=9).hits]
    assert found == ["t.jsonl::a", "t.jsonl::b"]
    both = marked(texts.version, text="night", exclude_text=("boat",), filter="page_number = 1", positive=["t.jsonl::a"])
    assert both == Query(text="night red apples in a bowl", exclude_text=("boat",), filter="page_number = 1")


def test_what_cannot_be_marked_is_said(texts: Collection, pictures: Collection) -> None:
    with pytest.raises(InputError, match="neither text nor a picture"):
        marked(texts.version, negative=["t.jsonl::a"])
    with pytest.raises(InputError, match="no item 'nothing'"):
        marked(texts.version, positive=["nothing"])
    assert marked(pictures.version, text="x") == Query(text="x")
