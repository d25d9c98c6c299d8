"""Measures of single queries that ir_measures has not, over places: numpy arrays of ranks that count from 0.

Revisited Oxford and Paris: easy, medium and hard say which grades count and which are passed over. Its quirks are kept: AP
is a sum of trapezoids, P@k is taken at min(k, rank of the last positive), and a query without positives is left out (NaN).
Source: Radenovic et al. 2018 and the evaluation script that goes with it; CIRCO: Baldrati et al. 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Places: TypeAlias = npt.NDArray[np.int64]
EASY, HARD = 2, 1  # grades of the qrels; negative is junk
POSITIVE = {"easy": (EASY,), "medium": (EASY, HARD), "hard": (HARD,)}


def revisited_places(ids: Sequence[str], grades: Mapping[str, int], setting: str) -> tuple[Places, int]:
    """Places of the positives once what the setting passes over is out of the ranking, and how many positives there are."""
    positive_grades = POSITIVE[setting]
    passed_over = {item for item, grade in grades.items() if grade != 0 and grade not in positive_grades}
    positives = {item for item, grade in grades.items() if grade in positive_grades}
    remaining = (item for item in ids if item not in passed_over)
    return np.array([place for place, item in enumerate(remaining) if item in positives], dtype=np.int64), len(positives)


def trapezoid_precision(places: Places, positives: int) -> float:
    """Average precision by trapezoids; NaN without positives. Positives that were not found add nothing.

    >>> trapezoid_precision(np.array([0, 1]), 2)
    1.0
    """
    if positives == 0:
        return float("nan")
    order = np.arange(len(places))
    before = np.where(places == 0, 1.0, order / np.maximum(places, 1))
    after = (order + 1) / (places + 1)
    return float(((before + after) / (2 * positives)).sum())


def revisited_precision(places: Places, positives: int, k: int) -> float:
    """Precision at min(k, rank of the last positive); NaN without positives. One that was not found counts as beyond k."""
    if positives == 0:
        return float("nan")
    last = int(places[-1]) + 1 if len(places) == positives else k
    depth = min(k, last)
    return float((places < depth).sum() / depth)


def circo_precision(places: Places, positives: int, k: int) -> float:
    """Precision at the positives of the first k, summed, over min(k, positives); 0 without positives.

    >>> circo_precision(np.array([0, 3]), 2, 5)
    0.75
    """
    within = places[places < k]
    return float(((np.arange(len(within)) + 1) / (within + 1)).sum() / max(min(k, positives), 1))


def roc_auc(places: Places, positives: int, length: int) -> float:
    """Share of the pairs of a positive and another candidate in which the positive stands ahead: the area under the ROC
    curve. Positives that were not found stand behind all candidates; an empty ranking, which found none, counts as 0. NaN without
    positives, and where nothing but positives was found, so that there is no such pair."""
    others = length - len(places)
    if positives and length == 0:
        return 0.0
    if positives == 0 or others == 0:
        return float("nan")
    behind = others - (places - np.arange(len(places)))
    return float(behind.sum() / (positives * others))


def score_auc(scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """The same of scores of many queries together: share of the pairs of a positive and another in which the positive scores higher; a tie
    is half a pair.

    >>> score_auc(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    above = scores[positive][:, None] - scores[~positive][None]
    return float((above > 0).mean() + (above == 0).mean() / 2)
