"""What can be asked of a collection, by what it holds and what there is to work with."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers import ColourEncoder

from mmrerank import Collection
from mmrerank.collection import capabilities


@pytest.fixture
def pictures(photos: Path, tmp_path: Path) -> Collection:
    collection = Collection.create(tmp_path / "c", encoders=[ColourEncoder()])
    collection.add([photos])
    return collection


def test_pictures_under_an_encoder_of_pictures_alone(pictures: Collection) -> None:
    assert capabilities.takes(pictures.version) == ["image"]
    assert capabilities.retrievers(pictures.version, backend=True) == ["dense"]
    capabilities.warm_up(pictures.version)
    assert "item_id" in capabilities.fields(pictures.version)


def test_texts_without_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "a", "text": "a red door", "year": 1990}\n')
    collection = Collection.create(tmp_path / "t")
    assert capabilities.takes(collection.version) == []
    assert capabilities.retrievers(collection.version, backend=False) == []
    collection.add([tmp_path / "t.jsonl"])
    assert capabilities.takes(collection.version) == ["text"]
    assert capabilities.retrievers(collection.version, backend=True) == ["lexical"]
    assert capabilities.fields(collection.version)[-1] == "year"


def test_an_encoder_of_both_opens_the_composed_stages(photos: Path, tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", encoders=["openclip/mini"])
    collection.add([photos])
    assert capabilities.takes(collection.version) == ["text", "image", "image+text"]
    assert capabilities.retrievers(collection.version, backend=False) == ["composed", "dense"]
    assert capabilities.retrievers(collection.version, backend=True) == ["composed", "dense", "square_fusion"]


def test_rerankers_by_what_they_need() -> None:
    assert capabilities.rerankers([]) == ["bm25"], "a part that reaches a server is not whole without an address"
    assert "superglobal" in capabilities.rerankers(["descriptors"])
    assert {"mm_r5", "ragllava", "square"} <= set(capabilities.rerankers(["backend"]))
