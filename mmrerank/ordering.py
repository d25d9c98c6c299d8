"""Scores that differ by rounding only are equal: a tie is settled by its rule, never by the processor.

The same two rows multiplied in batches of other sizes, by other instructions or on another device give results that differ in the
last digits. Sorted as they are, equal pictures would change places with the batch they came in. So whoever orders by computed scores
levels them first: a run of scores, each within rounding of the next, takes the best of its values.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmrerank.types import Ranking

ROUNDING = 1e-6  # cosines of unit float32 rows and what is summed from them; equal pictures were seen 6e-8 apart
MODEL_ROUNDING = 1e-4  # log-odds of a network in float32, whose batches are padded to different lengths


def levelled(scores: npt.ArrayLike, *, rounding: float = ROUNDING) -> npt.NDArray[Any]:
    """The scores, those that differ by rounding only made equal to the best of them; along the last axis.

    Args:
        rounding: how far two neighbours in the order may lie apart, times their size where that is above 1.

    >>> levelled([0.5, 0.90000001, 0.9, 0.7]).tolist()
    [0.5, 0.90000001, 0.90000001, 0.7]
    """
    values = np.asarray(scores)
    if values.shape[-1:] in ((), (0,)):
        return values.copy()
    order = np.argsort(-values, axis=-1, kind="stable")
    falling = np.take_along_axis(values, order, axis=-1)
    upper, lower = falling[..., :-1], falling[..., 1:]
    with np.errstate(invalid="ignore", over="ignore"):  # -inf beside -inf is no step
        steps = upper - lower > rounding * np.maximum(1, np.abs(upper))
    places = np.arange(values.shape[-1])
    leaders = np.maximum.accumulate(np.where(np.concatenate([np.ones_like(falling[..., :1], bool), steps], axis=-1), places, 0), axis=-1)
    level = np.empty_like(values)
    np.put_along_axis(level, order, np.take_along_axis(falling, leaders, axis=-1), axis=-1)
    return level


def best_first(scores: npt.ArrayLike, *, rounding: float = ROUNDING) -> list[int]:
    """The places of the scores, best first; what is equal within rounding stays in the incoming order.

    >>> best_first([0.2, 0.3, 0.3 + 1e-9])
    [1, 2, 0]
    """
    order: list[int] = np.argsort(-levelled(scores, rounding=rounding), kind="stable").tolist()
    return order


Scale: TypeAlias = Literal["calibrated", "score", "rank", "none"]


def to_unit_scale(ranking: Ranking) -> tuple[list[float], Scale]:
    """A number within 0 and 1 for each candidate, in their order, and what it is.

    Where nothing was reranked (`fallback`) and there are no scores, all are 0: places in an order that nobody made look like a result.

    >>> from mmrerank.types import Candidate, Item
    >>> to_unit_scale(Ranking(query_id="q", candidates=tuple(Candidate(item=Item(item_id=name)) for name in "abcd")))
    ([1.0, 0.75, 0.5, 0.25], 'rank')
    """
    calibrated = [candidate.calibrated_score for candidate in ranking.candidates]
    if calibrated and _falling(calibrated) and None not in calibrated:
        return [float(score or 0) for score in calibrated], "calibrated"
    scores = [candidate.score for candidate in ranking.candidates]
    if any(score is not None for score in scores) and _falling(scores):
        return [float(score or 0) for score in scores], "score"
    if ranking.notes.status == "fallback":
        return [0.0] * len(scores), "none"
    return [1 - place / len(scores) for place in range(len(scores))], "rank"


def _falling(scores: list[float | None]) -> bool:
    numbers = [score or 0.0 for score in scores]
    return all(0 <= number <= 1 for number in numbers) and numbers == sorted(numbers, reverse=True)
