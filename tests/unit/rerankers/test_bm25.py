"""BM25 over the candidates themselves: the same scores as bm25s gives, within 0 and 1, with exclusions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bm25s import BM25

from mmrerank.index._words import english
from mmrerank.parts import make
from mmrerank.pictures import picture
from mmrerank.types import Candidate, Item, Query

TEXTS = [
    "A red bicycle leans at the wall of the harbour office.",
    "Green cars, red cars and a bicycle rack.",
    "",
    "The tide gauge TG-204 was inspected twice; the gauge reads high water.",
    "Bicycles bicycles bicycles",
]


def candidates(texts: list[str]) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"{n}", text=text or None), score=0.5) for n, text in enumerate(texts)]


@pytest.mark.parametrize("query", ["red bicycle", "the tide gauge TG-204", "bicycle bicycle cars", "submarine", "a red submarine"])
@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.9, 0.0), (2.0, 1.0)])
def test_the_scores_are_those_of_bm25s(query: str, k1: float, b: float) -> None:
    words = [english().of(text) for text in TEXTS]
    vocabulary = {term: n for n, term in enumerate(dict.fromkeys(term for text in words for term in text))}
    twin = BM25(k1=k1, b=b, method="lucene", backend="numpy")
    twin.index(([[vocabulary[term] for term in text] for text in words], vocabulary), create_empty_token=False, show_progress=False)
    asked = [vocabulary[term] for term in english().of_query(query) if term in vocabulary]
    expected = twin.get_scores_from_ids(asked) if asked else np.zeros(len(TEXTS))
    ranking = make(f"bm25(k1={k1}, b={b})", station="rerankers").rerank(Query(text=query), candidates(TEXTS))
    found = {c.item.item_id: c.raw_score for c in ranking.candidates}
    assert [found[f"{n}"] for n in range(len(TEXTS))] == pytest.approx(expected, rel=1e-4, abs=1e-5)
    scores = [c.score for c in ranking.candidates]
    assert all(score is not None and 0 <= score <= 1 for score in scores)
    assert scores == sorted(scores, key=lambda score: -(score or 0))


def test_a_word_that_nobody_has_lowers_every_score() -> None:
    reranker = make("bm25", station="rerankers")
    alone = reranker.rerank(Query(text="red bicycle"), candidates(TEXTS)).candidates[0]
    beside = reranker.rerank(Query(text="red bicycle submarine"), candidates(TEXTS)).candidates[0]
    assert beside.item.item_id == alone.item.item_id
    assert beside.score < alone.score
    assert beside.raw_score == alone.raw_score


def test_what_is_excluded_sinks_and_the_rest_keeps_its_order() -> None:
    plain = make("bm25", station="rerankers").rerank(Query(text="bicycle"), candidates(TEXTS))
    without = make("bm25", station="rerankers").rerank(Query(text="bicycle", exclude_text=("harbour wall",)), candidates(TEXTS))
    assert plain.item_ids.index("0") < plain.item_ids.index("2")
    assert without.item_ids[-3:] == ("0", "2", "3"), "the excluded one scores nothing, like those without the word"


def test_reasons_count_words_and_silence_is_said() -> None:
    ranking = make("bm25", station="rerankers").rerank(Query(text="red bicycle"), candidates(TEXTS))
    assert ranking.notes.reasons["0"].endswith("2 of 2 words")
    assert ranking.notes.messages == ("1 of 5 candidates have no text",)


def test_a_query_without_text_leaves_the_order_and_says_so() -> None:
    asked = Query(images=(picture("nobody-looks.png"),))
    ranking = make("bm25", station="rerankers").rerank(asked, candidates(TEXTS))
    assert ranking.item_ids == tuple(f"{n}" for n in range(len(TEXTS)))
    assert ranking.notes.status == "fallback"
    assert [c.score for c in ranking.candidates] == [None] * len(TEXTS)


def test_scores_do_not_depend_on_the_order_of_the_candidates() -> None:
    given = candidates(TEXTS)
    turned = make("bm25", station="rerankers").rerank(Query(text="red bicycle"), given[::-1])
    straight = make("bm25", station="rerankers").rerank(Query(text="red bicycle"), given)
    assert {c.item.item_id: c.score for c in turned.candidates} == {c.item.item_id: c.score for c in straight.candidates}
    assert all(replace(c, score=0.5, raw_score=None) in given for c in straight.candidates)
