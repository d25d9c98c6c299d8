"""The pointwise driver: order, ties, what has no score, thresholds, chunks; and a reranker of one's own on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from worded import HIDDEN, QUERY, candidates, show

from mmrerank.errors import ShapeError
from mmrerank.rerankers._pointwise import Scores, pointwise, sigmoid
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Cost, Query, Ranking


class LargestFirst:
    """A reranker of one's own: the number that a text is."""

    name = "largest_first"
    pointwise = True

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        return pointwise(query, candidates, show=show, judge=lambda texts: Scores(raw=[float(text) for text in texts]))


def test_a_reranker_of_ones_own_in_ten_lines() -> None:
    ranking = LargestFirst().rerank(QUERY, candidates([3, 9, 9, 1]))
    assert ranking.item_ids == ("item-1", "item-2", "item-0", "item-3")
    assert [(c.score, c.raw_score) for c in ranking.candidates] == [(9, 9), (9, 9), (3, 3), (1, 1)]
    assert ranking.notes.reasons["item-1"] == "score 9.000"
    assert (ranking.notes.status, ranking.notes.messages, ranking.notes.irrelevant) == ("ok", (), frozenset())
    assert LargestFirst().rerank(QUERY, []).candidates == ()


def test_scores_that_differ_by_rounding_keep_the_incoming_order() -> None:
    ranking = LargestFirst().rerank(QUERY, candidates([1, 5, 5 + 1e-6, 5 - 1e-6]))
    assert ranking.item_ids == ("item-1", "item-2", "item-3", "item-0")
    exact = pointwise(QUERY, candidates([1, 1.1]), show=show, judge=lambda texts: Scores(raw=[float(t) for t in texts]), rounding=0.5)
    assert exact.item_ids == ("item-0", "item-1")


def test_what_cannot_be_shown_or_has_no_score_stays_behind_with_the_reason() -> None:
    def judge(texts: Sequence[str]) -> Scores:
        return Scores(raw=[np.nan if text == "silent" else float(text) for text in texts])

    ranking = pointwise(QUERY, candidates([HIDDEN, "silent", 1, 2]), show=show, judge=judge, unshown="not asked about")
    assert ranking.item_ids == ("item-3", "item-2", "item-1", "item-0")
    assert [c.score for c in ranking.candidates] == [2, 1, None, None]
    assert ranking.notes.status == "completed"
    assert ranking.notes.messages == ("item-0: not asked about: it is hidden", "item-1: no score in the answer")
    assert ranking.notes.reasons["item-0"] == "not asked about: it is hidden"
    assert ranking.notes.reasons["item-1"] == "no score in the answer"


def test_a_judge_that_never_has_a_score_leaves_the_order_and_says_so() -> None:
    ranking = pointwise(QUERY, candidates(range(4)), show=show, judge=lambda texts: Scores(raw=[np.nan] * len(texts)))
    assert ranking.item_ids == ("item-0", "item-1", "item-2", "item-3")
    assert ranking.notes.status == "fallback"
    assert len(ranking.notes.messages) == 4


def test_the_threshold_names_what_is_irrelevant_and_moves_nobody() -> None:
    def rerank(threshold: float) -> Ranking:
        return pointwise(
            QUERY,
            candidates([-2, 2, HIDDEN]),
            show=show,
            judge=lambda texts: Scores(raw=[float(text) for text in texts], reasons=[f"said {text}" for text in texts]),
            to_score=sigmoid,
            label="P(Yes)",
            threshold=threshold,
        )

    ranking = rerank(0.5)
    assert ranking.item_ids == ("item-1", "item-0", "item-2")
    assert ranking.notes.irrelevant == {"item-0"}
    assert ranking.notes.reasons == {
        "item-1": "said 2",
        "item-0": "said -2, below eta 0.500",
        "item-2": "not shown to the model: it is hidden",
    }
    assert rerank(0.9).notes.messages[-1] == "nothing relevant: the best P(Yes) is 0.881, below eta 0.900"
    assert rerank(0.0).notes.irrelevant == frozenset()


def test_chunks_are_shown_when_they_are_judged_and_their_costs_add_up() -> None:
    events: list[str] = []

    def judge(texts: Sequence[str]) -> Scores:
        events.append(f"judge {len(texts)}")
        return Scores(raw=[float(text) for text in texts], cost=Cost(calls=len(texts)))

    def showing(item):  # type: ignore[no-untyped-def]
        events.append("show")
        return show(item)

    ranking = pointwise(QUERY, candidates([*range(4), HIDDEN, 5, HIDDEN]), show=showing, judge=judge, at_once=3)
    assert events == ["show"] * 3 + ["judge 3"] + ["show"] * 3 + ["judge 2", "show"]
    assert ranking.notes.cost.calls == 5
    assert ranking.item_ids == ("item-5", "item-3", "item-2", "item-1", "item-0", "item-4", "item-6")


def test_the_backend_is_told_how_many_prompts_come() -> None:
    class Watching(FakeBackend):
        coming = 0

        def expect(self, prompts: int) -> None:
            self.coming = prompts

    watching = Watching()
    pointwise(QUERY, candidates(range(7)), show=show, judge=lambda texts: Scores(raw=[0.0] * len(texts)), backend=watching)
    assert watching.coming == 7


def test_what_a_judge_mends_is_said_and_a_wrong_number_of_scores_is_an_error() -> None:
    mended = pointwise(QUERY, candidates([1]), show=show, judge=lambda texts: Scores(raw=[1.0], messages=["one was doubled"]))
    assert (mended.notes.status, mended.notes.messages) == ("repaired", ("one was doubled",))
    with pytest.raises(ShapeError, match="expected 2 scores"):
        pointwise(QUERY, candidates([1, 2]), show=show, judge=lambda texts: Scores(raw=[1.0]))
