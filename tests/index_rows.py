"""Rows for the tests of the indexes."""

from __future__ import annotations

import numpy as np

from mmrerank.ordering import ROUNDING
from mmrerank.types import Array, Keys, Neighbours


def structured(n: int, dimension: int, *, seed: int, inner: int = 6) -> Array:
    """(n, dimension) unit rows near an `inner`-dimensional surface; pure noise would hide mistakes of approximate search."""
    lift = np.random.default_rng(99).standard_normal((inner, dimension))
    rows = np.sin(np.random.default_rng(seed).standard_normal((n, inner)) @ lift)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def shuffled_ids(n: int, *, seed: int) -> Keys:
    """(n,) unlike ids in no order, with gaps."""
    return np.random.default_rng(seed).permutation(7 * n + 3)[:n].astype(np.int64)


def corners(dimension: int) -> Array:
    """(2 * dimension, dimension) rows along the axes, whose products are exact in any order of summation."""
    return np.concatenate([np.eye(dimension), -np.eye(dimension)]).astype(np.float32)


def plainly(ids: Keys, rows: Array, query: Array, k: int, allowed: Keys | None = None) -> list[int]:
    """The answer by a sort of everything, in float64; of those that lie within rounding of the next, the first by id."""
    among = set(ids.tolist()) if allowed is None else set(ids.tolist()) & set(allowed.tolist())
    scores = {int(i): float(np.dot(row.astype(float), query.astype(float))) for i, row in zip(ids, rows, strict=True) if i in among}
    groups: list[list[int]] = []
    for i in sorted(scores, key=lambda i: -scores[i]):
        if groups and scores[groups[-1][-1]] - scores[i] <= ROUNDING:
            groups[-1].append(i)
        else:
            groups.append([i])
    return [i for group in groups for i in sorted(group)][:k]


def same(found: Neighbours, expected: Neighbours, *, tolerance: float = 1e-5) -> bool:
    """Equal up to the order of scores that differ by rounding only."""
    if found.ids.shape != expected.ids.shape or not np.allclose(found.scores, expected.scores, atol=tolerance):
        return False
    clear = expected.scores > expected.scores[-1] + 2 * tolerance if len(expected.scores) else np.empty(0, bool)  # the edge may swap
    return set(expected.ids[clear].tolist()) <= set(found.ids.tolist()) and len(set(found.ids.tolist())) == len(found.ids)
