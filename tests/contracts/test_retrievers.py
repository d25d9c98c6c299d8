"""What every retriever must do; a new file in `mmrerank/retrievers/` is found by itself."""

from __future__ import annotations

import pytest

from mmrerank.parts import module, names, options_of
from mmrerank.types import Query

RETRIEVERS = names("retrievers")


@pytest.mark.parametrize("name", RETRIEVERS)
class TestRetriever:
    def test_its_printed_name_parses_back(self, name: str) -> None:
        part = module(name, station="retrievers")
        assert options_of(part.tiny().name, part.Options) == part.Options()

    @pytest.mark.parametrize("k", [1, 3, 50])
    def test_it_returns_at_most_k_distinct_items_best_first(self, name: str, k: int) -> None:
        ranking = module(name, station="retrievers").tiny().retrieve(Query(query_id="q7", text="red door"), k)
        assert ranking.query_id == "q7"
        assert 1 <= len(ranking.candidates) <= k
        scores = [candidate.score for candidate in ranking.candidates]
        assert scores == sorted(scores, key=lambda score: -(score or 0))

    def test_asking_again_and_asking_for_less_changes_nothing(self, name: str) -> None:
        retriever = module(name, station="retrievers").tiny()
        query = Query(text="blue bird")
        assert retriever.retrieve(query, 5) == retriever.retrieve(query, 5)
        assert retriever.retrieve(query, 5).item_ids[:2] == retriever.retrieve(query, 2).item_ids

    def test_every_item_says_why_it_stands_there(self, name: str) -> None:
        ranking = module(name, station="retrievers").tiny().retrieve(Query(text="white lamp"), 4)
        assert all(ranking.notes.reasons[item_id] for item_id in ranking.item_ids)
