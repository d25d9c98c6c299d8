"""Index "faiss_index": FAISS by cosine, exact or approximate, on the CPU or GPUs.

    kind    what it is                       when                                        removing
    flat    every row, exact                 up to some 100,000 rows, or on a GPU        tombstone
    hnsw    a graph of near rows             large, queries one at a time, memory given  tombstone
    ivf     lists around centroids           larger, batches, on a GPU                   tombstone

Cost per query: flat reads all rows; hnsw compares about ef_search * links rows; ivf about lists + n * probes / lists.
`storage="fp16"` halves the memory. The recipes in `indexes/` hold what was measured.

Whatever the kind, a filtered search gives min(k, number of allowed rows) neighbours. FAISS filters inside its loops on the
CPU only; on a GPU more is fetched and filtered after. A filter that leaves few rows is answered exactly from those rows, where
graphs lose their way and lists run short. A GPU holds a copy, made at the first search after a change; several GPUs hold a
whole copy each and share a batch. The rows also stay in host memory.

Source: Douze et al. 2024, "The Faiss library".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmrerank.errors import DamagedData, InputError, ShapeError
from mmrerank.index._checks import integer_ids, positive, unit_rows
from mmrerank.index._exact import empty, nearest, spans
from mmrerank.index._faiss_device import MOST_ON_GPU, copied, faiss_module, gpus, threads
from mmrerank.index._faiss_kinds import grown_from, parameters, tuned
from mmrerank.index._files import Sink, get_array, open_sealed, put_array, save_sealed
from mmrerank.index._positions import Choice, Positions
from mmrerank.ordering import levelled
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Keys, Neighbours

SEARCHES = "rows"
SPARE = 16  # rows fetched beyond k, so that ties at the edge are settled by id
FEW = 2_048  # a filter that leaves no more rows than this is scanned exactly
MANY = 20_000  # and never more than this, however large the index
THIN = 0.5  # a choice that leaves less is filtered inside FAISS; above, fetching 1 / share as many is cheaper
WORN_DEAD = 0.25  # share of tombstones that slow every search by as much
WORN_GROWTH = 2  # an inverted file this many times its first size has the wrong lists
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Options:
    kind: Literal["flat", "hnsw", "ivf"] = "flat"  # flat: exact; hnsw: a graph; ivf: lists around centroids
    storage: Literal["fp32", "fp16"] = "fp32"  # fp16 halves the memory
    links: Annotated[int, Field(ge=2)] = 32  # hnsw: neighbours per row
    ef_construction: Count = 80  # hnsw: width of its walk while building
    ef_search: Count = 64  # hnsw: width of its walk while searching
    lists: Annotated[int, Field(ge=0)] = 0  # ivf: how many there are; 0: 4 * sqrt(n)
    probes: Count = 32  # ivf: how many are read
    device: str = runtime_option("cpu")  # "cpu", "gpu", "gpu:0,1"
    threads: int = runtime_option(0)  # FAISS's; 0 for its own choice


class FaissIndex:
    """An `Index` (types.py) over FAISS."""

    def __init__(self, options: Options, dimension: int) -> None:
        self.name = printed("faiss_index", options)
        self.dimension = positive(dimension)
        self._options = options
        self._faiss = faiss_module()
        self._gpus = gpus(self._faiss, options.device)
        if self._gpus and options.kind == "hnsw":
            raise InputError("FAISS has no HNSW on a GPU", hint='Take kind="ivf" or kind="flat" there, or device="cpu".')
        if self._gpus and options.probes > MOST_ON_GPU:
            raise InputError(f"a GPU reads up to {MOST_ON_GPU} lists a query, got probes={options.probes}")
        self._selectors_work = not self._gpus
        self._positions = Positions()
        self._host: Any = None  # the FAISS index in host memory, made by the first add
        self._copy: Any = None  # its copy on the GPUs, None when out of date
        self._lock = Lock()  # a GPU index takes one search at a time
        self._first_size = 0

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def ids(self) -> Keys:
        """(n,) ascending."""
        return self._positions.ids.copy()

    @property
    def needs_rebuild(self) -> bool:
        """Whether a quarter is tombstones, or an inverted file has outgrown its lists."""
        positions = len(self._positions.keys)
        outgrown = self._options.kind == "ivf" and positions > WORN_GROWTH * self._first_size
        return outgrown or self._positions.dead > WORN_DEAD * positions

    def add(self, ids: Keys, rows: Array) -> None:
        """Adds (n, dimension) unit rows under (n,) new ids. The first rows set, and train, the lists of an inverted file.

        Raises:
            ShapeError: another dimension, or not as many ids as rows.
            InputError: an id that it holds, an id twice, or a row that is not of unit length.
        """
        rows = unit_rows(rows, self.dimension)
        ids = integer_ids(ids)
        if len(ids) != len(rows):
            raise ShapeError(f"{len(ids)} ids came with {len(rows)} rows")
        self._positions.check(ids)
        if not len(ids):
            return
        with threads(self._faiss, self._options.threads):
            if self._host is None:
                self._host = tuned(self._options, grown_from(self._faiss, self._options, rows))
                self._first_size = len(rows)
            self._host.add(rows)
        self._positions.append(ids)
        self._copy = None

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable; one that it does not hold is left aside."""
        self._positions.forget(integer_ids(ids))

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """The k best of each of (n_queries, dimension) unit rows, among `allowed` only when it is given. Ties go by id.

        Raises:
            ShapeError: another dimension.
            InputError: k below 1, or a row that is not of unit length.
        """
        queries = unit_rows(rows, self.dimension)
        k = positive(k)
        choice = self._positions.choose(None if allowed is None else integer_ids(allowed))
        if not choice.count:
            return [empty()] * len(queries)
        with threads(self._faiss, self._options.threads):
            if allowed is not None and self._scanning_pays(choice):
                return self._scan(queries, k, choice)
            neighbours = self._fetch(queries, k, choice)
            short = [number for number, one in enumerate(neighbours) if len(one.ids) < min(k, choice.count)]
            if short:
                for number, one in zip(short, self._scan(queries[short], k, choice), strict=True):
                    neighbours[number] = one
        return neighbours

    def save(self, path: Path) -> None:
        """Writes the index to one file."""

        def fill(sink: Sink) -> None:
            put_array(sink, self._positions.keys)
            put_array(sink, self._positions.alive)
            put_array(sink, np.array([self._first_size]))
            if self._host is not None:
                self._faiss.write_index(self._host, self._faiss.PyCallbackIOWriter(sink.write))

        save_sealed(path, self._header(), fill)

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote.

        Raises:
            DamagedData: the file is missing, torn or changed, or this FAISS cannot read it.
            ManifestError: it holds an index built with other options, or of another dimension.
        """
        with open_sealed(path, self._header()) as file:
            positions = Positions(get_array(file), get_array(file))
            first_size = int(get_array(file)[0])
            host = self._read(file, path) if len(positions.keys) else None
        self._positions, self._first_size, self._host, self._copy = positions, first_size, host, None

    def _read(self, file: IO[bytes], path: Path) -> Any:
        try:
            return tuned(self._options, self._faiss.read_index(self._faiss.PyCallbackIOReader(file.read)))
        except RuntimeError as error:  # the sum was right, so another FAISS wrote it
            raise DamagedData(f"FAISS {self._faiss.__version__} cannot read {path}: {error}", hint="Rebuild the index.") from error

    def _header(self) -> dict[str, Any]:
        options = self._options
        settings = {  # what searching may change (ef_search, probes, device) is free to differ
            "flat": {},
            "hnsw": {"links": options.links, "ef_construction": options.ef_construction},
            "ivf": {"lists": options.lists},
        }
        return {
            "index": "faiss_index",
            "kind": options.kind,
            "storage": options.storage,
            "dimension": self.dimension,
            **settings[options.kind],
        }

    def _scanning_pays(self, choice: Choice) -> bool:
        if self._options.kind == "flat" and self._selectors_work:
            return False  # FAISS's own filtered pass is exact and copies nothing
        return choice.count <= max(FEW, min(MANY, choice.positions // 20))

    def _scan(self, queries: Array, k: int, choice: Choice) -> list[Neighbours]:
        """Exactly the best of the choice, from the rows themselves."""
        positions = choice.as_positions()

        def blocks() -> Iterator[tuple[Keys, Array]]:
            for span in spans(len(positions)):
                yield self._positions.keys[positions[span]], self._host.reconstruct_batch(positions[span])

        return nearest(queries, blocks, k)

    def _fetch(self, queries: Array, k: int, choice: Choice) -> list[Neighbours]:
        """FAISS's answer, fetched deeper for the queries whose k-th place the filter or ties left open. May fall short of k."""
        inside = self._selectors_work and choice.share < THIN
        most = choice.count if inside else choice.positions
        most = most if self._selectors_work else min(most, MOST_ON_GPU)
        depth = min(most, k + SPARE if inside else math.ceil((k + SPARE) / choice.share))
        neighbours: list[Neighbours] = [empty()] * len(queries)
        pending = np.arange(len(queries))
        while len(pending):
            scores, positions = self._ask(queries[pending], depth, choice, inside)
            batch, final = self._ranked(scores, positions, k, choice)
            for number, one in zip(pending, batch, strict=True):
                neighbours[number] = one
            pending = pending[~final] if depth < most else pending[:0]
            depth = min(most, 4 * depth)
        return neighbours

    def _ask(self, queries: Array, depth: int, choice: Choice, inside: bool) -> tuple[Array, Keys]:
        """FAISS's (n_queries, depth) scores and positions, best first, -1 where it found no more; only of the choice if `inside`."""
        hits: tuple[Array, Keys]
        if self._gpus:
            with self._lock:
                if self._copy is None:
                    self._copy = copied(self._faiss, self._host, self._gpus)
                hits = self._copy.search(queries, depth)
            return hits
        if choice.mask is None:
            hits = self._host.search(queries, depth)
            return hits
        bits = np.packbits(choice.mask, bitorder="little")  # must outlive the search: the selector holds its address only
        selector = self._faiss.IDSelectorBitmap(bits.size, self._faiss.swig_ptr(bits)) if inside else None
        hits = self._host.search(
            queries, depth, params=parameters(self._faiss, self._options, self._host, share=choice.share, selector=selector)
        )
        return hits

    def _ranked(self, scores: Array, positions: Keys, k: int, choice: Choice) -> tuple[list[Neighbours], npt.NDArray[np.bool_]]:
        """The k best of the choice for each query, and whether a deeper fetch could not change them."""
        keep = positions >= 0
        spent = ~keep[:, -1]  # FAISS has nothing more to give
        if choice.mask is not None:
            keep &= choice.mask[positions]
        limit = min(k, choice.count)
        ids = self._positions.keys[positions]
        level = levelled(scores)
        order = np.lexsort((ids, np.where(keep, -level, np.inf)))[:, :limit]  # row by row: score down, id up, the unwanted last
        row = np.arange(len(ids))[:, None]
        ids, best = ids[row, order], level[row, order]  # (n_queries, limit)
        counts = np.minimum(keep.sum(axis=1), limit)
        neighbours = [Neighbours(ids=i[:count], scores=s[:count]) for i, s, count in zip(ids, best, counts, strict=True)]
        return neighbours, spent | ((counts == limit) & (best[:, -1] > level[:, -1]))


def build(options: Options, dimension: int) -> FaissIndex:
    """The index for rows of `dimension` numbers.

    Raises:
        MissingExtra: faiss is not installed, or has no GPU part and a GPU was asked for.
        InputError: a device that is not there, or HNSW on a GPU.
    """
    return FaissIndex(options, dimension)


def tiny() -> FaissIndex:
    """An empty exact index for rows of 8 numbers."""
    return FaissIndex(Options(), 8)
