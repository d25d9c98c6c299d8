"""Scores as rerank services promise them: within 0 and 1, falling, and named for what they are."""

from __future__ import annotations

import pytest

from mmrerank.ordering import to_unit_scale
from mmrerank.types import Candidate, Item, Ranking


def ranking(scores: list[float | None], calibrated: list[float | None] | None = None) -> Ranking:
    pairs = zip(scores, calibrated or [None] * len(scores), strict=True)
    candidates = tuple(Candidate(item=Item(item_id=f"{n}"), score=s, calibrated_score=c) for n, (s, c) in enumerate(pairs))
    return Ranking(query_id="q", candidates=candidates)


@pytest.mark.parametrize(
    ("scores", "calibrated", "expected", "scale"),
    [
        ([0.9, 0.5, 0.5, 0.1], None, [0.9, 0.5, 0.5, 0.1], "score"),
        ([0.9, 0.2, None], None, [0.9, 0.2, 0.0], "score"),
        ([None, None], None, [1.0, 0.5], "rank"),
        ([7.5, 0.5], None, [1.0, 0.5], "rank"),
        ([0.5, -0.1], None, [1.0, 0.5], "rank"),
        ([7.5, 0.5], [0.8, 0.1], [0.8, 0.1], "calibrated"),
        ([0.9, 0.5], [0.8, None], [0.9, 0.5], "score"),
        ([0.1, 0.9], None, [1.0, 0.5], "rank"),
        ([None, 0.4], None, [1.0, 0.5], "rank"),
        ([], None, [], "rank"),
    ],
)
def test_relevance(scores: list[float | None], calibrated: list[float | None] | None, expected: list[float], scale: str) -> None:
    assert to_unit_scale(ranking(scores, calibrated)) == (expected, scale)


def test_a_rank_of_many_stays_within_0_and_1_and_falls() -> None:
    numbers, _ = to_unit_scale(ranking([None] * 1000))
    assert numbers == sorted(set(numbers), reverse=True)
    assert (numbers[0], numbers[-1]) == (1.0, pytest.approx(0.001))
