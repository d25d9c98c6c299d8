"""Descriptors for rerankers: of candidates encoded on the fly, by the row of a first stage, and of which some have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from makers import InMemory, picture

from mmrerank import Collection
from mmrerank.encoders import openclip
from mmrerank.errors import FormatError, InputError
from mmrerank.parts import make
from mmrerank.pipeline import EncodedOnTheFly, rerank_candidates
from mmrerank.types import Array, Candidate, Item, Modality, Query


def candidates(count: int = 6) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"p{n}", image=InMemory(picture(n)))) for n in range(count)]


class Asking:
    """Tells questions from documents."""

    name, dimension = "asking", 4
    takes: frozenset[Modality] = frozenset({"text"})
    reads: Modality = "text"

    def __init__(self) -> None:
        self.questions: list[str] = []

    def prepare(self, value: Any) -> Any:
        return value

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        if "unreadable" in values:
            raise FormatError("is unreadable", path="a text")
        rows = np.array([[len(value), 1, value.count("a"), value.count("e")] for value in values], dtype=np.float32)
        rows[[value == "nothing" for value in values]] = np.nan
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_queries(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        self.questions += values
        return self.encode(values)


def test_a_question_is_encoded_as_one() -> None:
    encoder = Asking()
    source = EncodedOnTheFly(encoder, [Candidate(item=Item(item_id="a", text="oak"))])
    source.of_query(Query(text="which tree"))
    assert encoder.questions == ["which tree"]
    with pytest.raises(InputError, match="made of image and text"):
        source.of_query(Query(text="which tree", images=(InMemory(picture(1)),)))


@pytest.mark.parametrize(
    "query",
    [
        Query(text="block number 3"),
        Query(images=(InMemory(picture(3)),)),
        Query(images=(InMemory(picture(3)), InMemory(picture(4))), weights=(3.0, 1.0)),
        Query(text="in red", images=(InMemory(picture(3)),)),
        Query(text="in red", images=(InMemory(picture(3)),), exclude_text=("blue",), exclude_images=(InMemory(picture(5)),)),
    ],
)
def test_the_query_gets_the_row_that_a_first_stage_searches_with(tmp_path: Path, query: Query) -> None:
    encoder = openclip.tiny()
    for n in range(6):
        picture(n).save(tmp_path / f"p{n}.png")
    collection = Collection.create(tmp_path / "c", encoders=[encoder])
    collection.add([tmp_path])
    own = collection.version.retriever("composed").query_row(query)  # type: ignore[attr-defined]
    assert np.allclose(EncodedOnTheFly(encoder, candidates()).of_query(query), own, atol=1e-6)


def test_an_encoder_of_somebody_elses_need_not_prepare() -> None:
    class Plain:
        name, dimension, takes, reads = "plain", 4, frozenset({"text"}), "text"

        def encode(self, values: Sequence[str], *, normalise: bool = True) -> Array:
            return np.eye(4, dtype=np.float32)[[len(value) % 4 for value in values]]

    texts = [Candidate(item=Item(item_id=text, text=text)) for text in ("oak", "tide gauge")]
    rows = EncodedOnTheFly(Plain(), texts)  # type: ignore[arg-type]
    ranking = make("superglobal", descriptors=rows).rerank(Query(text="gauge"), texts)
    assert sorted(ranking.item_ids) == ["oak", "tide gauge"]
    assert np.allclose(rows.of_query(Query(text="gauge")), np.eye(4)[1])


class Broken:
    def open(self) -> Any:
        raise FormatError("is broken", path="p")


@pytest.mark.parametrize("place", [0, 2, 6])
@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (Item(item_id="odd", image=Broken()), "is broken"),
        (Item(item_id="odd"), "has no image"),
        (Item(item_id="odd", text="only words"), "has no image"),
    ],
)
def test_one_without_a_descriptor_stays_behind_and_changes_nothing_for_the_others(odd: Item, why: str, place: int) -> None:
    encoder, query, others = openclip.tiny(), Query(text="block"), candidates()
    mixed = [*others[:place], Candidate(item=odd, score=0.9), *others[place:]]

    def reranked(these: list[Candidate]) -> Any:
        return make("superglobal", station="rerankers", descriptors=EncodedOnTheFly(encoder, these)).rerank(query, these)

    alone, ranking = reranked(others), reranked(mixed)
    assert ranking.item_ids == (*alone.item_ids, "odd")
    assert [c.score for c in ranking.candidates] == [*(c.score for c in alone.candidates), None]
    assert ranking.notes.status == "completed"
    assert why in ranking.notes.reasons["odd"]
    assert any(message.startswith("odd: no descriptor: ") for message in ranking.notes.messages)


def test_none_with_a_descriptor_keep_their_order() -> None:
    these = [Candidate(item=Item(item_id=name, text="words"), score=0.5) for name in "bac"]
    part = make("superglobal", station="rerankers", descriptors=EncodedOnTheFly(openclip.tiny(), these))
    assert part.rerank(Query(text="x"), these).item_ids == ("b", "a", "c")


def test_what_the_encoder_refuses_or_gives_no_numbers_for_spoils_itself_only() -> None:
    texts = ["oak", "unreadable", "tide gauge", "nothing", "  "]
    these = [Candidate(item=Item(item_id=str(n), text=text)) for n, text in enumerate(texts)]
    part = make("superglobal", station="rerankers", descriptors=EncodedOnTheFly(Asking(), these))
    result = rerank_candidates(Query(text="tide"), these, [part])
    assert {hit.item.item_id for hit in result.hits if hit.score is not None} == {"0", "2"}
    reasons = {hit.item.item_id: hit.reason for hit in result.hits}
    assert "unreadable" in reasons["1"]
    assert "NaN" in reasons["3"]
    assert "has no text" in reasons["4"]


def test_items_of_a_collection_without_a_descriptor_spoil_themselves_only(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "p1.png")
    picture(2).save(tmp_path / "p2.png")
    collection = Collection.create(tmp_path / "c", encoders=[openclip.tiny()])
    collection.add([tmp_path])
    from mmrerank.pipeline import QueryDescriptors

    descriptors = QueryDescriptors(collection.version.retriever("dense"))
    these = [*(Candidate(item=collection.item(name)) for name in ("p1.png", "p2.png")), Candidate(item=Item(item_id="elsewhere"))]
    ranking = make("superglobal", station="rerankers", descriptors=descriptors).rerank(Query(text="block"), these)
    assert ranking.item_ids[-1] == "elsewhere"
    assert "not in the collection" in ranking.notes.reasons["elsewhere"]
