"""What every reranker must do; a new file in `mmrerank/rerankers/` is found by itself."""

from __future__ import annotations

import copy
import random

import pytest
from makers import InMemory, coloured

from mmrerank.parts import module, names, options_of
from mmrerank.types import Candidate, Item, Query, Ranking

RERANKERS = names("rerankers")
QUERY = Query(query_id="q7", text="a red door")


def candidates(count: int) -> list[Candidate]:
    return [
        Candidate(item=Item(item_id=f"item-{n}", text=f"text {n}", image=InMemory(coloured(n))), score=1.0 - n / 100) for n in range(count)
    ]


def test_there_are_rerankers_to_check() -> None:
    assert "superglobal" in RERANKERS


@pytest.mark.parametrize("name", RERANKERS)
class TestReranker:
    def test_its_printed_name_parses_back(self, name: str) -> None:
        part = module(name, station="rerankers")
        assert options_of(part.tiny().name, part.Options) == part.Options()

    @pytest.mark.parametrize("count", [0, 1, 2, 17])
    def test_a_permutation_comes_back_and_the_input_stays(self, name: str, count: int) -> None:
        given = candidates(count)
        before = copy.copy(given)
        ranking = module(name, station="rerankers").tiny().rerank(QUERY, given)
        assert isinstance(ranking, Ranking)
        assert ranking.query_id == "q7"
        assert sorted(ranking.item_ids) == sorted(c.item.item_id for c in given)
        assert given == before

    def test_the_same_again_gives_the_same(self, name: str) -> None:
        reranker = module(name, station="rerankers").tiny()
        assert reranker.rerank(QUERY, candidates(9)) == reranker.rerank(QUERY, candidates(9))

    def test_the_same_from_a_new_instance(self, name: str) -> None:
        part = module(name, station="rerankers")
        assert part.tiny().rerank(QUERY, candidates(9)).item_ids == part.tiny().rerank(QUERY, candidates(9)).item_ids

    def test_scores_fall_where_there_are_scores(self, name: str) -> None:
        shuffled = candidates(12)
        random.Random(0).shuffle(shuffled)
        scores = [c.score for c in module(name, station="rerankers").tiny().rerank(QUERY, shuffled).candidates]
        assert all(score is None for score in scores) or scores == sorted(scores, key=lambda score: -(score or 0.0))
