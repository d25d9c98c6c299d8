"""Fewer token vectors a page: those that say nearly the same become one.

Source: Clavié, Chaffin & Adams 2024, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token
Pooling" (arXiv 2409.14683), its hierarchical variant: Ward's clustering, each cluster becomes its mean. Two choices are ours: Ward
works on Euclidean distances between unit vectors, for which it is defined (released code hands it cosine distances), and the
caller gives how many vectors may stay instead of a factor. The tree is built by nearest-neighbour chains (Murtagh 1983), so
that no further library is needed.

Cost: n merges of O(n), and n² distances in float64; Ward's tree is found whole, whatever the budget.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmrerank.types import Array


def pooled_to(tokens: Array, budget: int | None) -> Array:
    """(m, dim) float32 unit rows, m = min(n, budget): the means of clusters of (n, dim) unit rows, in the order of their first
    members; the rows themselves where they are few enough or there is no budget."""
    if budget is None or len(tokens) <= budget:
        return tokens
    labels = ward_labels(tokens, budget)
    sums = np.zeros((budget, tokens.shape[1]), dtype=np.float64)
    np.add.at(sums, labels, tokens)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    means: Array = (sums / np.maximum(lengths, 1e-12)).astype(np.float32)
    return means


def ward_labels(rows: Array, count: int) -> npt.NDArray[np.int64]:
    """(n,) which of `count` Ward clusters each row is in, numbered by first members.

    >>> ward_labels(np.array([[1, 0], [0, 1], [0.98, 0.2], [0.2, 0.98]], dtype="float32"), 2).tolist()
    [0, 1, 0, 1]
    """
    merges = sorted(_merges(rows), key=lambda merge: merge[0])  # stable: a part comes before the whole
    parent = np.arange(len(rows))
    for _, one, other in merges[: len(rows) - count]:
        parent[_root(parent, other)] = _root(parent, one)
    roots = [_root(parent, n) for n in range(len(rows))]
    numbers = {root: number for number, root in enumerate(dict.fromkeys(roots))}
    return np.array([numbers[root] for root in roots], dtype=np.int64)


def _merges(rows: Array) -> list[tuple[float, int, int]]:
    """The n - 1 merges of Ward's tree: height and a member of each side; a part before the whole it goes into."""
    wide = rows.astype(np.float64)
    distance = np.maximum(2.0 - 2.0 * (wide @ wide.T), 0.0)  # (n, n) squared, between unit rows
    np.fill_diagonal(distance, np.inf)
    size = np.ones(len(rows))
    merges: list[tuple[float, int, int]] = []
    chain: list[int] = []
    while len(merges) < len(rows) - 1:
        chain = chain or [int(np.isfinite(distance).any(axis=1).argmax())]
        one, other = _nearest_pair(distance, chain)
        height = float(distance[one, other])
        merges.append((height, one, other))
        # Lance & Williams' update for Ward; what is gone is infinitely far and stays so.
        near = (size[one] + size) * distance[one] + (size[other] + size) * distance[other] - size * height
        distance[one] = distance[:, one] = near / (size[one] + size[other] + size)
        distance[other] = distance[:, other] = np.inf
        size[one] += size[other]
    return merges


def _nearest_pair(distance: npt.NDArray[np.float64], chain: list[int]) -> tuple[int, int]:
    """Walks from neighbour to nearest neighbour until two are each other's; takes them off the chain."""
    while True:
        last = chain[-1]
        nearest = int(distance[last].argmin())
        if len(chain) > 1 and distance[last, chain[-2]] <= distance[last, nearest]:
            return chain.pop(), chain.pop()
        chain.append(nearest)


def _root(parent: npt.NDArray[np.int64], node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]  # halves the way for the next one
        node = int(parent[node])
    return node
