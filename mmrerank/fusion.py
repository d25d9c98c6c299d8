"""Fuse several rankings into one by rank, never by adding scores of unlike scales.

Source: Cormack, Clarke & Büttcher 2009 (reciprocal rank fusion).  Cost per query: no model calls, one pass over the lists.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmrerank.errors import InputError
from mmrerank.ordering import levelled

ADDED = 1e-12  # sums of a few float64


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[str]], *, constant: float = 60.0, weights: Sequence[float] | None = None
) -> list[tuple[str, float]]:
    """Ids with their fused scores, best first; ties keep the order in which the rankings name them.

    Args:
        rankings: lists of ids, best first, each without repeats. An id that a list lacks gets nothing from it.
        constant: how much less the first ranks stand out; 60 in the paper.
        weights: one per ranking; all 1 when None.

    Raises:
        InputError: weights and rankings differ in number, or a weight is negative.

    >>> reciprocal_rank_fusion([["a", "b"], ["b", "c"]])[0][0]
    'b'
    """
    shares = [1.0] * len(rankings) if weights is None else list(weights)
    if len(shares) != len(rankings) or any(share < 0 for share in shares):
        raise InputError(f"{len(rankings)} rankings need as many weights, none negative; got {shares}")
    scores: dict[str, float] = {}
    for share, ranking in zip(shares, rankings, strict=True):
        for rank, item_id in enumerate(ranking, start=1):
            scores[item_id] = scores.get(item_id, 0.0) + share / (constant + rank)
    level = levelled(list(scores.values()), rounding=ADDED)  # the same shares added in another order are the same score
    return sorted(zip(scores, level.tolist(), strict=True), key=lambda pair: -pair[1])
