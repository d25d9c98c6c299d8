"""`mmrerank.rerank`: documents of any kind in one line, each with its place among those that came."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from makers import ColourEncoder, InMemory, picture

import mmrerank
from mmrerank.documents import candidates_of
from mmrerank.errors import InputError
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query

TEXTS = ["a blue boat", "the red door of a red house", "a door"]


def last_colour(prompt: Prompt, choices: Any) -> list[float]:
    """A fake judge that likes red pictures."""
    pictures = [part for part in prompt[-1].parts if not isinstance(part, str)]
    return [pictures[-1].getpixel((0, 0))[0] / 50, 0.0] if pictures else [-9.0, 0.0]


def test_three_texts_come_back_with_indices_scores_and_reasons() -> None:
    result = mmrerank.rerank("red door", TEXTS)
    assert result.order == [1, 2, 0]
    assert [document.document for document in result] == ["the red door of a red house", "a door", "a blue boat"]
    assert result.scores == sorted(result.scores, reverse=True)  # type: ignore[type-var]
    assert [document.rank for document in result] == [1, 2, 3]
    assert result[0].reason.startswith("BM25")
    assert len(result) == 3


def test_kinds_of_documents_can_be_mixed(tmp_path: Path) -> None:
    red = picture(1)
    red.paste((250, 0, 0), (0, 0, 40, 30))
    red.save(tmp_path / "red.png")
    buffer = io.BytesIO()
    picture(2).save(buffer, "PNG")
    documents = [
        "only words",
        picture(3),
        buffer.getvalue(),
        {"image": str(tmp_path / "red.png"), "text": "a wall", "id": "wall", "year": 2020},
        Item(item_id="mine", image=InMemory(picture(5))),
        Candidate(item=Item(item_id="hit", text="words"), score=0.3),
        tmp_path / "red.png",
    ]
    result = mmrerank.rerank("something red", documents, "ragllava(modality=both)", backend=FakeBackend(choose=last_colour))
    assert sorted(result.order) == list(range(7))
    assert set(result.order[:2]) == {3, 6}
    assert result.search.hits[0].item.metadata == {"year": 2020}
    assert result[0].document is documents[result.order[0]]


def test_ids_are_those_that_came_and_no_two_are_one() -> None:
    documents = [{"text": "a", "id": 7}, "b", {"text": "c", "item_id": "7"}, Item(item_id="1", text="d")]
    assert [candidate.item.item_id for candidate in candidates_of(documents)] == ["7 (place 1)", "document (place 2)", "7 (place 3)", "1"]


def test_a_text_never_opens_a_file_and_a_remark_says_so(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "door.png")
    result = mmrerank.rerank("door", [str(tmp_path / "door.png"), "a door"])
    assert result.search.hits[0].item.image is None
    assert "pathlib.Path" in result.notes[0]


def test_top_n_and_depth() -> None:
    assert mmrerank.rerank("red door", TEXTS, top_n=1).order == [1]
    result = mmrerank.rerank("red door", TEXTS, depth=1)
    assert result.order == [0, 1, 2]
    assert result.scores[1:] == [None, None]


def test_rerankers_work_one_after_the_other_and_superglobal_takes_an_encoder() -> None:
    documents = [picture(n) for n in range(4)]
    result = mmrerank.rerank(None, documents, ["superglobal"], image=picture(2), encoder=ColourEncoder())
    assert result.order[0] == 2
    both = mmrerank.rerank("red door", TEXTS, ["bm25", "bm25"])
    assert [stage.name.split("(")[0] for stage in both.search.stages] == ["given", "bm25", "bm25"]


def test_no_documents_are_no_error() -> None:
    assert mmrerank.rerank("red door", []).order == []


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ("one text", "come in a list"),
        ([7], "document 0"),
        ([{"url": "x"}], "its fields are url"),
        ([{"text": 3}], "its text is a int"),
        ([None], "document 0"),
    ],
)
def test_what_is_no_document_is_named_by_its_place(documents: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        mmrerank.rerank("red", documents)


def test_a_query_in_parts_is_the_query_as_a_whole() -> None:
    parts = mmrerank.rerank("door", TEXTS, exclude_text="red")
    whole = mmrerank.rerank(Query(text="door", exclude_text=("red",)), TEXTS)
    assert parts.order == whole.order
    with pytest.raises(InputError, match="whole Query"):
        mmrerank.rerank(Query(text="door"), TEXTS, exclude_text="red")
    with pytest.raises(InputError, match="neither text nor a picture"):
        mmrerank.rerank(None, TEXTS)


@pytest.mark.parametrize(("reranker", "argument"), [("ragllava", "backend="), ("superglobal", "encoder=")])
def test_a_reranker_without_what_it_needs_says_which_argument_gives_it(reranker: str, argument: str) -> None:
    with pytest.raises(InputError) as refusal:
        mmrerank.rerank("red", TEXTS, reranker)
    assert argument in refusal.value.hint


@pytest.mark.parametrize("count", [0, -1, 1.5, "1", True])
def test_counts_are_whole_numbers_from_one(count: Any) -> None:
    for name in ("top_n", "depth"):
        with pytest.raises(InputError, match=name):
            mmrerank.rerank("red", TEXTS, **{name: count})


@pytest.mark.parametrize(
    ("query", "options"), [(5, {}), ("red", {"exclude_text": [5]}), ("red", {"reranker": None}), ("red", {"reranker": 7})]
)
def test_values_of_a_wrong_type_are_refused_as_such(query: Any, options: Any) -> None:
    with pytest.raises(InputError, match=r"got (int|NoneType)"):
        mmrerank.rerank(query, TEXTS, **options)


def test_pictures_go_by_the_names_of_their_files_and_an_empty_id_is_none(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "red.png")
    ids = [candidate.item.item_id for candidate in candidates_of([tmp_path / "red.png", {"id": "", "text": "a"}])]
    assert ids == ["red.png", "document (place 2)"]


def test_half_a_character_breaks_no_print() -> None:
    assert str(mmrerank.rerank("q", ["\ud800 q"])).encode("utf-8")
