"""Late interaction: MaxSim against its plain twin, masks, and a collection that keeps token vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from makers import ColourEncoder, picture

from mmrerank import Collection, Query
from mmrerank.encoders import multivector
from mmrerank.errors import InputError, ShapeError
from mmrerank.retrievers import _max_sim
from mmrerank.retrievers._max_sim import max_sim


def rows(seed: int, count: int) -> np.ndarray:
    matrix = np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def plainly(query: np.ndarray, page: np.ndarray) -> float:
    """The definition, one product at a time."""
    return sum(max(float(sum(a * b for a, b in zip(token, other, strict=True))) for other in page) for token in query)


@pytest.mark.parametrize("block", [1, 5, 100_000])
def test_scores_are_those_of_the_definition(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_max_sim, "BLOCK", block)
    query, pages = rows(0, 4), [rows(n, count) for n, count in enumerate([1, 7, 3, 1, 12], 1)]
    np.testing.assert_allclose(max_sim(query, pages), [plainly(query, page) for page in pages], atol=1e-5)


def test_a_short_page_gains_nothing_beside_a_long_one() -> None:
    query = np.array([[1, 0, 0, 0, 0, 0]], dtype=np.float32)
    assert max_sim(query, [-query]).tolist() == [-1.0]
    assert max_sim(query, [-query, rows(1, 9)]).tolist()[0] == -1.0


def test_shapes_are_checked() -> None:
    with pytest.raises(ShapeError, match="page 1"):
        max_sim(rows(0, 2), [rows(1, 2), np.zeros((0, 6), np.float32)])
    assert max_sim(rows(0, 2), []).shape == (0,)


@pytest.fixture(scope="module")
def encoder() -> multivector.Multivector:
    return multivector.tiny()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pages").mkdir()
    for n in range(7):
        picture(n, (90, 60) if n % 2 else (60, 90)).save(tmp_path / "pages" / f"{n}.png")
    return tmp_path / "pages"


def expected(encoder: multivector.Multivector, text: str, numbers: range) -> dict[str, float]:
    query = encoder.encode_tokens([text])[0]
    pages = encoder.encode_tokens([picture(n, (90, 60) if n % 2 else (60, 90)) for n in numbers])
    return {f"{n}.png": plainly(query, page) for n, page in zip(numbers, pages, strict=True)}


def test_a_collection_keeps_token_vectors_and_ranks_by_them(folder: Path, tmp_path: Path, encoder: multivector.Multivector) -> None:
    Collection.create(tmp_path / "c", encoders=[encoder]).add([folder])
    hits = Collection.open(tmp_path / "c").search("a red door", k=7, retriever="late_interaction").hits
    scores = expected(encoder, "a red door", range(7))
    assert [hit.item.item_id for hit in hits] == sorted(scores, key=lambda name: -scores[name])
    np.testing.assert_allclose([hit.score for hit in hits], sorted(scores.values(), reverse=True), atol=0.02)  # float16
    assert [hit.reason for hit in hits] == [f"MaxSim {hit.score:.3f}" for hit in hits]


def test_only_proposals_are_compared(folder: Path, tmp_path: Path, encoder: multivector.Multivector) -> None:
    collection = Collection.create(tmp_path / "c", encoders=[encoder])
    collection.add([folder])
    dense = [hit.item.item_id for hit in collection.search("x", k=2, retriever="dense").hits]
    few = collection.search("x", k=2, retriever="late_interaction(proposals=2)").hits
    assert sorted(hit.item.item_id for hit in few) == sorted(dense)
    only = collection.search(Query(text="x", filter="item_id = '4.png'"), retriever="late_interaction").hits
    assert [hit.item.item_id for hit in only] == ["4.png"]


def test_it_joins_a_collection_that_has_another_encoder(folder: Path, tmp_path: Path, encoder: multivector.Multivector) -> None:
    collection = Collection.create(tmp_path / "c", encoders=[ColourEncoder()])
    collection.add([folder])
    report = collection.add([folder], encoders=[encoder])
    assert (report.updated, report.added) == (7, 0)
    picture(8, (60, 90)).save(folder / "8.png")
    collection.add([folder])
    assert len(collection.search("a door", k=9, retriever="late_interaction").hits) == 8
    with pytest.raises(InputError, match="many vectors"):
        collection.search(Query(images=(collection.item("1.png").image,)), retriever="late_interaction(encoder=colour)")  # type: ignore[arg-type]


def test_what_it_does_not_take_is_said(folder: Path, tmp_path: Path, encoder: multivector.Multivector) -> None:
    collection = Collection.create(tmp_path / "c", encoders=[encoder])
    collection.add([folder])
    with pytest.raises(InputError, match="just that"):
        collection.search(Query(text="a", exclude_text=("b",)), retriever="late_interaction")
