"""Stages in a row: reasons of the last that gives one, what is irrelevant goes no further, cost is kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mmrerank.errors import InputError
from mmrerank.parts import PartName, StagedReranker, StageName, stage_of
from mmrerank.pipeline import SearchResult, order_after, rerankers_of, search
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


def staged(reranker: Judge, depth: int) -> StagedReranker:
    return StagedReranker(reranker, StageName(part=PartName(part="judge"), depth=depth), f"judge(depth={depth})")


def ids(result: SearchResult) -> list[str]:
    return [hit.item.item_id for hit in result.hits]


def test_each_stage_of_a_cascade_sees_as_many_as_its_name_says() -> None:
    cheap, dear = Judge(), Judge()
    result = search(QUERY, First(), [staged(cheap, 8), staged(dear, 3)], k=10)
    assert cheap.seen == ["0", "1", "2", "3", "4", "5", "6", "7"]
    assert dear.seen == ["7", "6", "5"]
    assert ids(result) == ["5", "6", "7", "4", "3", "2", "1", "0", "8", "9"], "the dear one's three, the cheap one's five, the first's"
    assert [hit.score is None for hit in result.hits] == [False] * 3 + [True] * 7
    assert [stage.name for stage in result.stages] == ["first", "judge(depth=8)", "judge(depth=3)"]
    assert [[c.item.item_id for c in order_after(stage)] for stage in result.stages[1:]][1] == ids(result)


def test_a_stage_without_a_depth_of_its_own_takes_that_of_the_search() -> None:
    own, other = Judge(), Judge()
    search(QUERY, First(), [staged(own, 2), other], k=1, depth=5)
    assert own.seen == ["0", "1"]
    assert other.seen == ["1", "0", "2", "3", "4"], "a deeper stage behind a shallow one sees what lay beyond that one's depth too"


def test_what_a_stage_holds_to_be_irrelevant_ends_the_ranking_at_what_it_judged() -> None:
    cheap, dear = Judge("1"), Judge()
    result = search(QUERY, First(), [staged(cheap, 6), staged(dear, 2)], k=10)
    assert dear.seen == ["5", "4"]
    assert ids(result) == ["4", "5", "3", "2", "0"], "the cheap one held these to be relevant, though the dear one did not see them"
    result = search(QUERY, First(), [staged(Judge(), 6), staged(Judge("5"), 2)], k=10)
    assert ids(result) == ["4"], "nobody knows whether the dear one would have kept what lies beyond its depth"
    result = search(QUERY, First(), [staged(Judge("0"), 2), staged(dear, 6)], k=10)
    assert dear.seen == ["1"], "what the first did not judge is not passed on"
    assert ids(result) == ["1"]


def test_a_named_depth_beats_that_of_the_search_and_enough_is_retrieved_for_it() -> None:
    judge = Judge()
    search(QUERY, First(), [staged(judge, 9)], k=1, depth=2)
    assert len(judge.seen) == 9


def test_a_cascade_by_names_prints_depths_and_models_and_asks_each_stage_its_own() -> None:
    result = search(QUERY, First(), rerankers_of(["bm25(depth=6)", "square(depth=3)/mini"], First()), k=10)
    assert [stage.name for stage in result.stages[1:]] == [
        "bm25(k1=1.5, b=0.75, depth=6)",
        "square(depth=3, prompt='square', cell_px=336, gutter_px=8, reference_px=336, shuffles=0, max_tokens=512, temperature=0.0, "
        "retries=2, seed=0)/mini(precision='fp32')",
    ]
    assert [len(stage.ranking.candidates) for stage in result.stages[1:]] == [6, 3]
    again = [stage_of(stage.name) for stage in result.stages[1:]]
    assert [(stage.depth, stage.backend) for stage in again] == [(6, None), (3, "mini(precision='fp32')")]


def test_a_reranker_that_loses_a_candidate_is_refused() -> None:
    class Loses(Judge):
        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            return Ranking(query_id="q", candidates=tuple(candidates[1:]))

    with pytest.raises(InputError, match="no permutation"):
        search(QUERY, First(), [Loses()], k=3)


def test_an_instruction_that_a_reranker_takes_none_of_is_said_of_that_one_alone() -> None:
    class Instructed(Judge):
        takes_instruction = True

    told = Query(query_id="q", text="anything", instruction="find it")
    result = search(told, First(), [Judge(), Instructed()], k=2)
    left = "left aside, since this method takes none: the instruction of the query"
    assert [left in stage.notes for stage in result.stages] == [False, True, False]
    assert not any(left in stage.notes for stage in search(QUERY, First(), [Judge()], k=2).stages)
