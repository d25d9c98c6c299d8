"""Stages in a row: reasons of the last that gives one, what is irrelevant goes no further, cost is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmrerank.errors import InputError
from mmrerank.pipeline import search
from mmrerank.types import Candidate, Cost, Item, Notes, Query, Ranking

QUERY = Query(query_id="q", text="anything")


class First:
    name = "first"

    def retrieve(self, query: Query, k: int) -> Ranking:
        found = tuple(Candidate(item=Item(item_id=f"{n}"), score=1 - n / 10) for n in range(min(k, 10)))
        return Ranking(query_id="q", candidates=found, notes=Notes(reasons={c.item.item_id: "first" for c in found}))


class Judge:
    """Holds what is named to be irrelevant and turns the rest around."""

    name = "judge"

    def __init__(self, *irrelevant: str) -> None:
        self.irrelevant = frozenset(irrelevant)
        self.seen: list[str] = []

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        self.seen = [candidate.item.item_id for candidate in candidates]
        notes = Notes(reasons={self.seen[-1]: "judged"}, irrelevant=self.irrelevant & set(self.seen), cost=Cost(calls=2, prompt_tokens=5))
        return Ranking(query_id="q", candidates=tuple(reversed(candidates)), notes=notes)


def test_what_lies_beyond_the_depth_keeps_its_order_without_a_score() -> None:
    result = search(QUERY, First(), [Judge()], k=6, depth=4)
    assert [hit.item.item_id for hit in result.hits] == ["3", "2", "1", "0", "4", "5"]
    assert [hit.score for hit in result.hits[4:]] == [None, None]
    assert [hit.reason for hit in result.hits[:2]] == ["judged", "first"]
    assert result.stages[1].cost == Cost(calls=2, prompt_tokens=5)


def test_irrelevant_candidates_are_no_hits_and_go_no_further() -> None:
    first, second = Judge("1", "2"), Judge()
    result = search(QUERY, First(), [first, second], k=10, depth=4)
    assert second.seen == ["3", "0"]
    assert [hit.item.item_id for hit in result.hits] == ["0", "3"]


def test_nothing_relevant_is_a_result() -> None:
    assert search(QUERY, First(), [Judge("0", "1", "2", "3")], k=10, depth=4).hits == ()


def test_a_reranker_that_loses_a_candidate_is_refused() -> None:
    class Loses(Judge):
        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            return Ranking(query_id="q", candidates=tuple(candidates[1:]))

    with pytest.raises(InputError, match="no permutation"):
        search(QUERY, First(), [Loses()], k=3)
