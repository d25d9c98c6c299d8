"""The listwise driver: windows, unread windows, what cannot be shown; and a reranker of one's own on it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from worded import HIDDEN, QUERY, candidates, show

from mmrerank.errors import BackendError, InputError
from mmrerank.prompting.answers import order_of
from mmrerank.rerankers._listwise import Reply, listwise, windows
from mmrerank.types import Candidate, Cost, Query, Ranking


def by_number(texts: Sequence[str]) -> Reply:
    marks = sorted(range(1, len(texts) + 1), key=lambda mark: -float(texts[mark - 1]))
    return Reply(order=order_of(marks, len(texts)), reasons={marks[0] - 1: f"{len(texts)} seen"}, cost=Cost(calls=1))


class LargestFirst:
    """A reranker of one's own: windows of four, ordered by the number that a text is."""

    name = "largest_first"

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return listwise(query, candidates, show=show, rank=by_number, window=4, step=2)


def test_a_reranker_of_ones_own_in_ten_lines() -> None:
    ranking = LargestFirst().rerank(QUERY, candidates([0, 1, 2, 3, 4, 9]))
    assert ranking.item_ids == ("item-5", "item-4", "item-1", "item-0", "item-3", "item-2")  # two windows: (2, 6), then (0, 4)
    assert ranking.notes.cost.calls == 2
    assert ranking.notes.reasons == {"item-5": "4 seen"}
    assert {c.score for c in ranking.candidates} == {None}
    assert LargestFirst().rerank(QUERY, []).candidates == ()


def test_a_window_whose_answer_is_lost_keeps_its_order_and_the_others_go_on() -> None:
    replies = iter([BackendError("timed out", retryable=True), None])

    def rank(texts: Sequence[str]) -> Reply:
        error = next(replies)
        if error is not None:
            raise error
        return by_number(texts)

    ranking = listwise(QUERY, candidates([0, 1, 2, 3, 4, 5]), show=show, rank=rank, window=4, step=2, noun="pages")
    assert ranking.item_ids == ("item-3", "item-2", "item-1", "item-0", "item-4", "item-5")
    assert ranking.notes.status == "fallback"
    assert ranking.notes.messages == ("pages 3-6: no answer: timed out",)


def test_a_model_that_cannot_be_reached_is_an_error() -> None:
    def rank(texts: Sequence[str]) -> Reply:
        raise BackendError("no such model")

    with pytest.raises(BackendError, match="no such model"):
        listwise(QUERY, candidates([1, 2]), show=show, rank=rank, window=4, step=2)


def test_what_cannot_be_shown_is_in_no_window_and_stays_behind() -> None:
    shown: list[list[str]] = []

    def rank(texts: Sequence[str]) -> Reply:
        shown.append(list(texts))
        return by_number(texts)

    ranking = listwise(QUERY, candidates([HIDDEN, 1, HIDDEN, 2]), show=show, rank=rank, window=4, step=2)
    assert shown == [["1", "2"]]
    assert ranking.item_ids == ("item-3", "item-1", "item-0", "item-2")
    assert ranking.notes.status == "completed"
    assert ranking.notes.messages[0] == "item-0: not shown to the model: it is hidden"
    assert ranking.notes.reasons["item-2"] == "not shown to the model: it is hidden"


def test_where_fewer_than_two_can_be_shown_nothing_was_reranked() -> None:
    def rank(texts: Sequence[str]) -> Reply:
        raise AssertionError("nothing is to be ordered")

    for shown in ([HIDDEN, 1], [HIDDEN, HIDDEN]):
        ranking = listwise(QUERY, candidates(shown), show=show, rank=rank, window=4, step=2)
        assert (ranking.item_ids, ranking.notes.status) == (("item-0", "item-1"), "fallback")


def test_the_best_rises_from_the_last_place_to_the_first() -> None:
    for count in (4, 5, 9, 23):
        ranking = listwise(QUERY, candidates(range(count)), show=show, rank=by_number, window=4, step=1)
        assert ranking.item_ids[:3] == tuple(f"item-{n}" for n in range(count - 1, count - 4, -1)), "three overlap, so three rise"


def test_windows_that_leave_gaps_are_refused() -> None:
    with pytest.raises(InputError, match="step"):
        windows(9, 4, 5)
    with pytest.raises(InputError, match="step"):
        windows(9, 4, 0)
