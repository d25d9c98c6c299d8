"""Whatever candidates come, every reranker gives them all back, changes none, and orders by the scores it shows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrerank.errors import InputError
from mmrerank.parts import module, names
from mmrerank.testing.contracts import untouched
from mmrerank.testing.samples import Broken, InMemory, coloured
from mmrerank.texts import is_blank
from mmrerank.types import Candidate, ImageHandle, Item, Query

TEXTS = st.one_of(st.none(), st.sampled_from(["a red door", "blue boat", " ", "red", "GAVK", "PEPTIDEK"]), st.text(max_size=20))
PICTURES: st.SearchStrategy[ImageHandle | None] = st.one_of(
    st.none(), st.integers(0, 40).map(lambda n: InMemory(coloured(n))), st.builds(Broken)
)
LOOKS = st.lists(st.tuples(TEXTS, PICTURES), max_size=14)
QUERIES = st.builds(
    lambda text, exclusions: Query(text=text, exclude_text=exclusions),
    st.text(min_size=1, max_size=20).filter(lambda text: not is_blank(text)),
    st.tuples(st.just("blue")),
)


SPECTRUM = "BEGIN IONS\nPEPMASS=500.25\nCHARGE=2+\n147.11 60\n204.13 50\nEND IONS"


def put(name: str, query: Query) -> Query:
    """The query as the method takes it: with a picture for one that compares pictures, a spectrum for one that reads such."""
    for one in (query, replace(query, images=(InMemory(coloured(1)),))):
        try:
            module(name, station="rerankers").tiny().rerank(one, [Candidate(item=Item(item_id="a", text="a"))])
        except InputError:
            continue
        return one
    return replace(query, text=SPECTRUM)


@pytest.mark.parametrize("name", names("rerankers"))
@given(looks=LOOKS, query=QUERIES)
@settings(max_examples=40)
def test_any_candidates_come_back_ordered_by_their_scores(
    name: str, looks: list[tuple[str | None, ImageHandle | None]], query: Query
) -> None:
    candidates = [
        Candidate(item=Item(item_id=f"{n}", text=text, image=picture), score=-float(n)) for n, (text, picture) in enumerate(looks)
    ]
    query = put(name, query)
    with untouched(query, candidates):
        ranked = module(name, station="rerankers").tiny().rerank(query, candidates).candidates
    assert sorted(int(candidate.item.item_id) for candidate in ranked) == list(range(len(looks)))
    scores = [candidate.score for candidate in ranked]
    assert all(one is not None or other is None for one, other in itertools.pairwise(scores))
    numbers = [score for score in scores if score is not None]
    assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize(
    "name", [name for name in names("rerankers") if getattr(module(name, station="rerankers").tiny(), "pointwise", False)]
)
@given(looks=LOOKS.filter(len), query=QUERIES, order=st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_a_pointwise_score_is_that_of_the_candidate_alone(
    name: str, looks: list[tuple[str | None, ImageHandle | None]], query: Query, order: object
) -> None:
    candidates = [Candidate(item=Item(item_id=f"{n}", text=text, image=picture)) for n, (text, picture) in enumerate(looks)]
    order.shuffle(candidates)  # type: ignore[attr-defined]
    reranker, query = module(name, station="rerankers").tiny(), put(name, query)
    for candidate in reranker.rerank(query, candidates).candidates:
        (alone,) = reranker.rerank(query, [next(c for c in candidates if c.item.item_id == candidate.item.item_id)]).candidates
        assert (alone.score is None) == (candidate.score is None)
        if alone.score is not None:
            assert candidate.score == pytest.approx(alone.score, abs=1e-3)
