"""The FAISS structures behind `faiss_index`: how each is made, trained and asked.

Source: Malkov & Yashunin 2018 (HNSW); Jegou et al. 2011 (inverted file); Douze et al. 2024 (the FAISS library).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from mmrerank.types import Array

ROWS_PER_LIST = 39  # below this FAISS calls a k-means sample too small
SAMPLE_PER_LIST = 64  # of rows near a surface more hardly move the centroids, and k-means is most of the building time
SEED = 1234


class Shape(Protocol):
    """The options that the structures read."""

    @property
    def kind(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def links(self) -> int: ...
    @property
    def ef_construction(self) -> int: ...
    @property
    def ef_search(self) -> int: ...
    @property
    def lists(self) -> int: ...
    @property
    def probes(self) -> int: ...


def grown_from(faiss: Any, options: Shape, rows: Array) -> Any:
    """A FAISS index by inner product, fit for what begins with `rows`, trained where it has to be, and still empty."""
    dimension = rows.shape[1]
    product, half = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
    if options.kind == "ivf":
        return _inverted(faiss, options, rows)
    if options.kind == "hnsw":
        if options.storage == "fp16":
            index = faiss.IndexHNSWSQ(dimension, half, options.links, product)
        else:
            index = faiss.IndexHNSWFlat(dimension, options.links, product)
        index.hnsw.efConstruction = options.ef_construction
        return index
    return faiss.IndexScalarQuantizer(dimension, half, product) if options.storage == "fp16" else faiss.IndexFlatIP(dimension)


def _inverted(faiss: Any, options: Shape, rows: Array) -> Any:
    dimension, product = rows.shape[1], faiss.METRIC_INNER_PRODUCT
    lists = lists_for(options.lists, len(rows))
    coarse = faiss.IndexFlatIP(dimension)
    if options.storage == "fp16":
        index = faiss.IndexIVFScalarQuantizer(coarse, dimension, lists, faiss.ScalarQuantizer.QT_fp16, product, False)
    else:
        index = faiss.IndexIVFFlat(coarse, dimension, lists, product)
    index.cp.spherical = True  # unit centroids for unit rows, or the long ones would win every assignment
    index.cp.min_points_per_centroid = 1  # we choose the number of lists; FAISS would print its doubts
    index.cp.seed = SEED
    index.train(_sample(rows, lists * SAMPLE_PER_LIST))
    index.make_direct_map()  # position -> place in its list: without it no row can be read back
    return index


def lists_for(lists: int, n_rows: int) -> int:
    """How many inverted lists `n_rows` training rows carry: `lists`, or 4 * sqrt(n) for 0, and never more than n / 39."""
    return max(1, min(lists or round(4 * math.sqrt(n_rows)), n_rows // ROWS_PER_LIST))


def _sample(rows: Array, most: int) -> Array:
    if len(rows) <= most:
        return rows
    sample = np.random.default_rng(SEED).choice(len(rows), most, replace=False)
    return rows[np.sort(sample)]


def tuned(options: Shape, index: Any) -> Any:
    """`index` with the width of an unfiltered search set on itself, where it costs nothing per call and moves to a GPU with it."""
    if options.kind == "hnsw":
        index.hnsw.efSearch = options.ef_search
    if options.kind == "ivf":
        index.nprobe = min(options.probes, index.nlist)
    return index


def parameters(faiss: Any, options: Shape, index: Any, *, share: float, selector: Any | None) -> Any:
    """What FAISS is told for one filtered search.

    A filter that leaves a `share` of the rows takes most of what a walk of fixed width meets, so the walk widens by 1 / share.
    """
    if options.kind == "hnsw":
        return faiss.SearchParametersHNSW(sel=selector, efSearch=math.ceil(options.ef_search / share))
    if options.kind == "ivf":
        return faiss.SearchParametersIVF(sel=selector, nprobe=min(index.nlist, math.ceil(options.probes / share)))
    return faiss.SearchParameters(sel=selector)
