"""What can be asked of a collection, by what it holds and what there is to work with."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import ColourEncoder

from mmrerank import Collection, abilities


@pytest.fixture
def pictures(photos: Path, tmp_path: Path) -> Collection:
    collection = Collection.create(tmp_path / "c", encoders=[ColourEncoder()])
    collection.add([photos])
    return collection


def test_pictures_under_an_encoder_of_pictures_alone(pictures: Collection) -> None:
    assert abilities.takes(pictures) == ["image"]
    assert abilities.retrievers(pictures, backend=True) == ["dense"]
    abilities.warm_up(pictures)
    assert "item_id" in abilities.fields(pictures)


def test_texts_without_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "a", "text": "a red door", "year": 1990}\n')
    collection = Collection.create(tmp_path / "t")
    assert abilities.takes(collection) == []
    assert abilities.retrievers(collection, backend=False) == []
    collection.add([tmp_path / "t.jsonl"])
    assert abilities.takes(collection) == ["text"]
    assert abilities.retrievers(collection, backend=True) == ["lexical"]
    assert abilities.fields(collection)[-1] == "year"


def test_an_encoder_of_both_opens_the_composed_stages(photos: Path, tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", encoders=["openclip/mini"])
    collection.add([photos])
    assert abilities.takes(collection) == ["text", "image", "image+text"]
    assert abilities.retrievers(collection, backend=False) == ["composed", "dense"]
    assert abilities.retrievers(collection, backend=True) == ["composed", "dense", "square_fusion"]


def test_rerankers_by_what_they_need() -> None:
    assert abilities.rerankers([]) == ["bm25"], "a part that reaches a server is not whole without an address"
    assert "superglobal" in abilities.rerankers(["descriptors"])
    assert {"mm_r5", "ragllava", "square"} <= set(abilities.rerankers(["backend"]))
