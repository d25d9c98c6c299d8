"""Exact neighbours from blocks of rows: the plain way that faster ways are compared with.

Memory is bounded by one block of scores, (QUERIES, ROWS) float32. Within a block the k-th best score is found by a partial
sort and everything within rounding of it or above is kept, so that ties at the edge are settled by id and not by the partial sort's mood.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from mmrerank.ordering import ROUNDING, levelled
from mmrerank.types import Array, Keys, Neighbours

ROWS = 65_536  # rows scored at once
QUERIES = 128  # queries scored at once: 32 MiB of scores
Hits: TypeAlias = tuple[Keys, Keys, Array]  # query number, row number within the block, score
Top: TypeAlias = Callable[[Array, Any, int], Hits]


def top_numpy(queries: Array, rows: Array, k: int) -> Hits:
    """Every (query, row) pair whose score is among the query's k best in this block, ties included."""
    scores = queries @ rows.T  # (n_queries, n_rows)
    if k < len(rows):
        worst = np.partition(scores, len(rows) - k, axis=1)[:, len(rows) - k, None]
        query, row = np.nonzero(scores >= worst - ROUNDING)
    else:
        query, row = (axis.ravel() for axis in np.indices(scores.shape))
    return query, row, scores[query, row]


def nearest(queries: Array, blocks: Callable[[], Iterable[tuple[Keys, Any]]], k: int, top: Top = top_numpy) -> list[Neighbours]:
    """The k best of each query over all blocks, by (score down, id up).

    Args:
        queries: (n_queries, dimension).
        blocks: gives the blocks anew at each call: the ids of its rows, (n,), and the rows, (n, dimension), of a type `top` reads.
        k: at least 1.
        top: `top_numpy`, or its twin on another device.
    """
    neighbours: list[Neighbours] = []
    for start in range(0, len(queries), QUERIES):
        group = queries[start : start + QUERIES]
        hits = [(query, ids[row], score) for ids, rows in blocks() for query, row, score in [top(group, rows, k)]]
        neighbours += _merged(hits, len(group), k)
    return neighbours


def _merged(hits: list[Hits], n_queries: int, k: int) -> list[Neighbours]:
    if not hits:
        return [empty()] * n_queries
    query, ids, scores = (np.concatenate(part) for part in zip(*hits, strict=True))
    order = np.argsort(query, kind="stable")
    ends = np.searchsorted(query[order], np.arange(n_queries + 1))
    return [_best(ids[part], scores[part], k) for part in (order[start:end] for start, end in pairwise(ends))]


def _best(ids: Keys, scores: Array, k: int) -> Neighbours:
    level = levelled(scores).astype(np.float32, copy=False)
    order = np.lexsort((ids, -level))[:k]
    return Neighbours(ids=ids[order], scores=level[order])


def merged(parts: Sequence[Neighbours], k: int) -> Neighbours:
    """The k best of several searches for one query, over rows that no two of them share."""
    return _best(np.concatenate([part.ids for part in parts]), np.concatenate([part.scores for part in parts]), k)


def spans(n: int) -> Iterator[slice]:
    """0..n in pieces of `ROWS`."""
    return (slice(start, start + ROWS) for start in range(0, n, ROWS))


def empty() -> Neighbours:
    """No neighbours."""
    return Neighbours(ids=np.empty(0, np.int64), scores=np.empty(0, np.float32))
