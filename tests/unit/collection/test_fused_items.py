"""A collection by an encoder that fuses: rows of pictures, of texts and of both, searched end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from makers import picture

from mmrerank import Collection
from mmrerank.encoders import universal
from mmrerank.pictures import picture as handle
from mmrerank.protocols import Encoder
from mmrerank.types import Query

pytest.importorskip("sentence_transformers", reason="the extra `sentence` is not installed")


@pytest.fixture(scope="module")
def encoder() -> universal.Universal:
    return universal.tiny()


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder) -> Collection:
    folder = tmp_path_factory.mktemp("fused")
    for n in range(3):
        picture(n, (90, 60)).save(folder / f"{n}.png")
    rows = [
        {"id": "both", "image": "0.png", "text": "a red door"},
        {"id": "picture", "image": "1.png"},
        {"id": "words", "text": "a red door"},
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = Collection.create(tmp_path_factory.mktemp("made") / "c", encoders=[encoder])
    report = made.add([folder / "rows.jsonl", folder / "2.png"])
    assert (report.added, report.failed) == (4, ())
    return made


def test_an_item_is_described_by_all_that_it_has(collection: Collection, encoder: universal.Universal) -> None:
    items = {item.item_id.split("::")[-1]: item for item in collection}
    space = collection.version.space(takes=frozenset({"image", "text"}))
    values = {"both": (picture(0, (90, 60)), "a red door"), "picture": (picture(1, (90, 60)),), "words": ("a red door",)}
    for name, parts in values.items():
        expected = encoder.encode_fused([parts])[0]
        np.testing.assert_allclose(space.rows([items[name].item_id])[0], expected, atol=2e-6)
    np.testing.assert_allclose(space.rows([items["2.png"].item_id])[0], encoder.encode([picture(2, (90, 60))])[0], atol=2e-6)


def test_a_composed_query_is_one_row(collection: Collection, encoder: universal.Universal, tmp_path: Path) -> None:
    picture(0, (90, 60)).save(tmp_path / "ask.png")
    query = Query(text="but in blue", images=(handle(tmp_path / "ask.png"),))
    hits = collection.search(query, k=4).hits
    row = encoder.encode_fused_queries([(picture(0, (90, 60)), "but in blue")])[0]
    space = collection.version.space(takes=frozenset({"image", "text"}))
    for hit in hits:
        assert hit.score == pytest.approx(float(space.rows([hit.item.item_id])[0] @ row), abs=1e-5)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    summed = collection.search(query, k=4, retriever="composed(fuse=False)").hits
    assert [hit.score for hit in summed] != [hit.score for hit in hits]
    wish = collection.search(query, k=4, retriever="composed(instruction='Which boat?')").hits
    other = encoder.encode_fused_queries([(picture(0, (90, 60)), "but in blue")], instruction="Which boat?")[0]
    assert wish[0].score == pytest.approx(float(space.rows([wish[0].item.item_id])[0] @ other), abs=1e-5)


def test_texts_and_pictures_are_asked_by_their_side(collection: Collection, encoder: universal.Universal) -> None:
    row = encoder.encode_queries(["a red door"])[0]
    space = collection.version.space(takes=frozenset({"text"}))
    best = collection.search("a red door", k=1, retriever="dense").hits[0]
    assert best.score == pytest.approx(float(space.rows([best.item.item_id])[0] @ row), abs=1e-5)


def test_another_width_is_another_encoder(collection: Collection) -> None:
    from mmrerank.errors import ManifestError

    with pytest.raises(ManifestError, match="no descriptors of"):
        collection.search("a door", retriever=f"dense(encoder={collection.manifest.encoders[0].name + '(width=8)'!r})")
