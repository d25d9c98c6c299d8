"""Scores of a ranking on the scale that rerank services promise: 0 to 1, falling along the order.

    calibrated   the calibrated scores, where every candidate has one
    score        the scores, where all lie within 0 and 1; a candidate without one, which stands behind the others, gets 0
    rank         1 - place / n for place 0 .. n - 1 else: methods that give an order only, and scores on a scale of their own

`rank` says nothing but the order: 1 for the best even where nothing fits. It depends on how many candidates came.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from mmrerank.types import Ranking

Scale: TypeAlias = Literal["calibrated", "score", "rank"]


def relevance(ranking: Ranking) -> tuple[list[float], Scale]:
    """A number within 0 and 1 for each candidate, in their order, and what it is.

    >>> from mmrerank.types import Candidate, Item
    >>> relevance(Ranking(query_id="q", candidates=tuple(Candidate(item=Item(item_id=name)) for name in "abcd")))
    ([1.0, 0.75, 0.5, 0.25], 'rank')
    """
    calibrated = [candidate.calibrated_score for candidate in ranking.candidates]
    if calibrated and _falling(calibrated) and None not in calibrated:
        return [float(score or 0) for score in calibrated], "calibrated"
    scores = [candidate.score for candidate in ranking.candidates]
    if any(score is not None for score in scores) and _falling(scores):
        return [float(score or 0) for score in scores], "score"
    return [1 - place / len(scores) for place in range(len(scores))], "rank"


def _falling(scores: list[float | None]) -> bool:
    numbers = [score or 0.0 for score in scores]
    return all(0 <= number <= 1 for number in numbers) and numbers == sorted(numbers, reverse=True)
