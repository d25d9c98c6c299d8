"""The FAISS structures behind `faiss_index`: how each is made, trained and asked.

Source: Malkov & Yashunin 2018 (HNSW); Jegou et al. 2011 (inverted file, product quantiser); Ge et al. 2013 (OPQ); Gao & Long 2024 and
Gao et al. 2025 (RaBitQ of one and of more bits); Douze et al. 2024 (the FAISS library).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mmrerank.errors import InputError, MissingExtra
from mmrerank.types import Array

ROWS_PER_LIST = 39  # below this FAISS calls a k-means sample too small
SAMPLE_PER_LIST = 64  # of rows near a surface more hardly move the centroids, and k-means is most of the building time
MOST_SAMPLED_BYTES = 128 << 20  # of rows to train on: 65,536 of 512 numbers
MANY_LISTS = 2048  # from here on lists grow as 2 * sqrt(n), since k-means and each assignment cost as much as there are lists
SEED = 1234
QUERY_BITS = 8  # RaBitQ compares whole numbers of so many bits; with unrounded queries a search takes ten times as long
FOUR = 4  # numbers of a row that one 4-bit code of the product quantiser stands for
OPQ_ITERATIONS, OPQ_ROWS = 10, 16_384  # 32 rows a number of 512; more cost as much time again and again


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescoring:
    """How many rows to propose so that the k best by exact cosine are among them, and the share that then is."""

    floor: int = 0
    times: int = 1
    promise: float = 0.95  # recall@10


# Measured on caption queries over mixtures of CLIP rows, the hard ones: docs/guides/scale.md
RESCORING = {
    "fp32": Rescoring(),
    "fp16": Rescoring(),
    "sq8": Rescoring(floor=32, times=2),
    "rabitq4": Rescoring(floor=64, times=4),
    "rabitq2": Rescoring(floor=256, times=8),
    "rabitq1": Rescoring(floor=1024, times=16, promise=0.85),
    "pq": Rescoring(floor=512, times=16, promise=0.9),
}


class Shape(Protocol):
    """The options that the structures read."""

    @property
    def kind(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def bits(self) -> int: ...
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


def rescoring_of(options: Shape) -> Rescoring:
    """What the storage of these options needs."""
    return RESCORING[f"rabitq{options.bits}" if options.storage == "rabitq" else options.storage]


def check(options: Shape, dimension: int) -> None:
    """Passes where FAISS has the storage for that kind and dimension.

    Raises:
        InputError: it has not.
    """
    stored = {"flat": ("fp32", "fp16"), "hnsw": ("fp32", "fp16", "sq8"), "ivf": ("fp32", "fp16", "sq8", "rabitq", "pq")}[options.kind]
    if options.storage not in stored:
        raise InputError(f'kind="{options.kind}" stores {", ".join(stored)}; got storage="{options.storage}"', hint='Take kind="ivf".')
    if options.storage == "pq" and dimension % (2 * FOUR):
        raise InputError(f'storage="pq" takes rows of a multiple of {2 * FOUR} numbers; got {dimension}', hint='Take storage="rabitq".')


def sample_size(options: Shape, dimension: int, n_rows: int) -> int:
    """How many of `n_rows` rows are trained on: within 128 MiB, so that building stays bounded."""
    if options.kind == "flat" or (options.kind == "hnsw" and options.storage != "sq8"):
        return 0
    wanted = lists_for(options.lists, n_rows) * SAMPLE_PER_LIST if options.kind == "ivf" else ROWS_PER_LIST * 256
    return min(n_rows, wanted, max(1, MOST_SAMPLED_BYTES // (4 * dimension)))


def trained(faiss: Any, options: Shape, dimension: int, sample: Array, n_rows: int) -> Any:
    """A FAISS index by inner product, fit for `n_rows` rows like the (m, dimension) ones of the sample, and still empty."""
    product, stored = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer
    if options.kind == "ivf":
        return _inverted(faiss, options, dimension, sample, n_rows)
    if options.kind == "flat":
        half = options.storage == "fp16"
        return faiss.IndexScalarQuantizer(dimension, stored.QT_fp16, product) if half else faiss.IndexFlatIP(dimension)
    if options.storage == "fp32":
        index = faiss.IndexHNSWFlat(dimension, options.links, product)
    else:
        index = faiss.IndexHNSWSQ(dimension, stored.QT_fp16 if options.storage == "fp16" else stored.QT_8bit, options.links, product)
        index.train(sample)
    index.hnsw.efConstruction = options.ef_construction
    return index


def _inverted(faiss: Any, options: Shape, dimension: int, sample: Array, n_rows: int) -> Any:
    lists = min(lists_for(options.lists, n_rows), len(sample))
    if options.storage == "pq":  # its own training asks for more rows than there may be
        sample = np.resize(sample, (max(len(sample), 2 * dimension), dimension))
    lists_index = _lists(faiss, options, dimension, lists)
    lists_index.cp.spherical = True  # unit centroids for unit rows, or the long ones would win every assignment
    lists_index.cp.min_points_per_centroid = 1  # we choose the number of lists; FAISS would print its doubts
    lists_index.cp.seed = SEED
    turned = _turned(faiss, options, dimension)
    index = lists_index if turned is None else faiss.IndexPreTransform(turned, lists_index)
    if options.storage == "rabitq":
        _place_centroids(faiss, lists_index, turned, sample)
        sample = sample[:lists]
    index.train(sample)
    return index


def _place_centroids(faiss: Any, lists_index: Any, turned: Any, sample: Array) -> None:
    """Gives lists that are turned the centroids of a sample that is not. A turn changes no distance, so they are what FAISS would find; it
    would hold the sample twice more for it, once turned and once as what lies between rows and centroids."""
    clustering = faiss.Clustering(lists_index.d, lists_index.nlist, lists_index.cp)
    clustering.train(sample, faiss.IndexFlatIP(lists_index.d))
    centroids = faiss.vector_to_array(clustering.centroids).reshape(lists_index.nlist, lists_index.d)
    lists_index.quantizer.add(turned.apply(centroids))


def _lists(faiss: Any, options: Shape, dimension: int, lists: int) -> Any:
    product, coarse, stored = faiss.METRIC_INNER_PRODUCT, faiss.IndexFlatIP(dimension), faiss.ScalarQuantizer
    if options.storage == "fp32":
        return faiss.IndexIVFFlat(coarse, dimension, lists, product)
    if options.storage == "rabitq":
        return _rabitq(faiss, coarse, dimension, lists, options.bits)
    if options.storage == "pq":
        index = faiss.IndexIVFPQFastScan(coarse, dimension, lists, dimension // FOUR, 4, product)
        index.pq.cp.min_points_per_centroid = 1
        return index
    numbers = stored.QT_fp16 if options.storage == "fp16" else stored.QT_8bit
    return faiss.IndexIVFScalarQuantizer(coarse, dimension, lists, numbers, product, False)


def _rabitq(faiss: Any, coarse: Any, dimension: int, lists: int, bits: int) -> Any:
    try:
        index = faiss.IndexIVFRaBitQ(coarse, dimension, lists, faiss.METRIC_INNER_PRODUCT, True, bits)
    except (AttributeError, TypeError) as error:
        raise MissingExtra(
            f'storage="rabitq" needs FAISS 1.13 or newer; this is {faiss.__version__}', hint="pip install -U faiss-cpu"
        ) from error
    index.qb = QUERY_BITS
    return index


def _turned(faiss: Any, options: Shape, dimension: int) -> Any:
    """What turns rows before they are coded, or None. RaBitQ takes every direction to be like every other, which a few large numbers of
    CLIP's rows are not: without a turn 2 bits find .82 of what captions ask for, with it .98."""
    if options.storage == "rabitq":
        turn = faiss.RandomRotationMatrix(dimension, dimension)
        turn.init(SEED)
        return turn
    if options.storage == "pq":
        turn, codes = faiss.OPQMatrix(dimension, dimension // FOUR), faiss.ProductQuantizer(dimension, dimension // FOUR, 4)
        codes.cp.min_points_per_centroid = 1
        turn.pq, turn.niter, turn.max_train_points = codes, OPQ_ITERATIONS, OPQ_ROWS
        turn.codes = codes  # FAISS holds its address only
        return turn
    return None


def lists_for(lists: int, n_rows: int) -> int:
    """How many inverted lists `n_rows` rows are sorted into: `lists`, or for 0 as many as 4 * sqrt(n) up to 2,048, and from a million rows
    on 2 * sqrt(n); never more than n / 39."""
    chosen = lists or round(max(min(4 * math.sqrt(n_rows), MANY_LISTS), 2 * math.sqrt(n_rows)))
    return max(1, min(chosen, n_rows // ROWS_PER_LIST))


def core(faiss: Any, index: Any) -> Any:
    """The index below what turns the rows."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def tuned(faiss: Any, options: Shape, index: Any) -> Any:
    """`index` with the width of an unfiltered search set on itself, where it costs nothing per call and moves to a GPU with it."""
    inner = core(faiss, index)
    if options.kind == "hnsw":
        inner.hnsw.efSearch = options.ef_search
    if options.kind == "ivf":
        inner.nprobe = min(options.probes, inner.nlist)
    if options.storage == "rabitq":
        inner.qb = QUERY_BITS
    return index


def parameters(faiss: Any, options: Shape, index: Any, *, share: float, selector: Any | None) -> Any:
    """What FAISS is told for one filtered search.

    A filter that leaves a `share` of the rows takes most of what a walk of fixed width meets, so the walk widens by 1 / share.
    """
    if options.kind == "hnsw":
        return faiss.SearchParametersHNSW(sel=selector, efSearch=math.ceil(options.ef_search / share))
    if options.kind != "ivf":
        return faiss.SearchParameters(sel=selector)
    probes = min(core(faiss, index).nlist, math.ceil(options.probes / share))
    if options.storage == "rabitq":
        width = faiss.IVFRaBitQSearchParameters(sel=selector, nprobe=probes, qb=QUERY_BITS)
    else:
        width = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
    turned = isinstance(index, faiss.IndexPreTransform)
    return faiss.SearchParametersPreTransform(index_params=width) if turned else width
