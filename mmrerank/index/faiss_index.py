"""Index "faiss_index": FAISS by cosine, exact or approximate, on the CPU or GPUs.

    kind    what it is                       when                                        removing
    flat    every row, exact                 up to some 100,000 rows, or on a GPU        tombstone
    hnsw    a graph of near rows             large, queries one at a time, memory given  tombstone
    ivf     lists around centroids           larger, batches, on a GPU                   tombstone

    storage bytes a number   kinds           what the k best of its proposals need
    fp32    4                all             nothing
    fp16    2                all             nothing
    sq8     1                hnsw, ivf       32 proposals scored again on the rows
    rabitq  1/8 a bit        ivf             4 bits 64, 2 bits 256, 1 bit 1,024; turned rows, queries of 8 bits
    pq      1/8              ivf             512: OPQ and 4-bit codes, read by FastScan; where memory is shortest

Cost per query: flat reads all rows; hnsw compares about ef_search * links rows; ivf about lists + n * probes / lists. The scores of sq8,
rabitq and pq are rough: whoever has the rows asks for `proposals` and scores those again, as a collection does. The recipes in `indexes/`
hold what was measured.

Whatever the kind, a filtered search gives min(k, number of allowed rows) neighbours. FAISS filters inside its loops on the
CPU only; on a GPU more is fetched and filtered after. A filter that leaves few rows is answered from all of those rows, where
graphs lose their way and lists run short. A GPU holds a copy, made at the first search after a change; several GPUs hold a
whole copy each and share a batch. The rows also stay in host memory, or in the file that was opened: FAISS never adds to that, so an
addition reads it into memory first.

Source: Douze et al. 2024, "The Faiss library".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from mmrerank.errors import DamagedData, InputError
from mmrerank.index._checks import integer_ids, positive, unit_rows, with_ids
from mmrerank.index._exact import empty, nearest, spans
from mmrerank.index._faiss_device import MOST_ON_GPU, copied, faiss_module, gpus, mapping_flags, threads
from mmrerank.index._faiss_kinds import SEED, check, core, parameters, rescoring_of, sample_size, trained, tuned
from mmrerank.index._files import Sealed, Sink, load_sealed, map_sealed, save_sealed
from mmrerank.index._positions import Choice, Positions
from mmrerank.ordering import levelled
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Keys, Neighbours

SEARCHES = "rows"
SPARE = 16  # rows fetched beyond k, so that ties at the edge are settled by id
FEW = 2_048  # a filter that leaves no more rows than this is scanned exactly
MANY = 20_000  # and never more than this, however large the index
THIN = 0.5  # a choice that leaves less is filtered inside FAISS; above, fetching 1 / share as many is cheaper
WIDER = (2, 4)  # times its own width that it may be widened to
WORN_DEAD = 0.25  # share of tombstones that slow every search by as much
WORN_GROWTH = 2  # an inverted file this many times its first size has the wrong lists
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True)
class Options:
    kind: Literal["flat", "hnsw", "ivf"] = "flat"  # flat: exact; hnsw: a graph; ivf: lists around centroids
    storage: Literal["fp32", "fp16", "sq8", "rabitq", "pq"] = "fp32"  # how a row is kept; the table above
    bits: Literal[1, 2, 4] = 2  # rabitq: of each number
    links: Annotated[int, Field(ge=2)] = 32  # hnsw: neighbours per row
    ef_construction: Count = 80  # hnsw: width of its walk while building
    ef_search: Count = 64  # hnsw: width of its walk while searching
    lists: Annotated[int, Field(ge=0)] = 0  # ivf: how many there are; 0: 4 * sqrt(n) up to 2,048, from a million rows on 2 * sqrt(n)
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
        check(options, self.dimension)
        if self._gpus and (options.kind == "hnsw" or options.storage in ("rabitq", "pq")):
            what = "HNSW" if options.kind == "hnsw" else f"storage {options.storage!r}"
            hint = 'Take kind="ivf" with storage "fp32", "fp16" or "sq8", or kind="flat" there, or device="cpu".'
            raise InputError(f"FAISS has no {what} on a GPU", hint=hint)
        if self._gpus and options.probes > MOST_ON_GPU:
            raise InputError(f"a GPU reads up to {MOST_ON_GPU} lists a query, got probes={options.probes}")
        self._selectors_work = not self._gpus
        self._positions = Positions()
        self._host: Any = None  # the FAISS index in host memory, made by the first add
        self._copy: Any = None  # its copy on the GPUs, None when out of date
        self._lock = Lock()  # a GPU index takes one search at a time
        self._first_size = 0
        self._file: Path | None = None  # where the host index lies, if it was opened there

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
        ids, rows = with_ids(ids, rows, self.dimension)
        self._positions.check(ids)
        if not len(ids):
            return
        with threads(self._faiss, self._options.threads):
            if self._host is None:
                self._train(_sampled(rows, self.sample_size(len(rows))), len(rows))
            if self._file is not None:  # adding to a file that is mapped would end the process
                self._host, self._file = self._read(self._file, mapped=False), None
            self._host.add(rows)
        self._positions.append(ids)
        self._copy = None

    def sample_size(self, n_rows: int) -> int:
        """How many of so many rows `train` is to be given."""
        return sample_size(self._options, self.dimension, n_rows)

    def train(self, sample: Array, n_rows: int) -> None:
        """Drops what it holds, and makes ready for others; see `mmrerank.protocols.ScannedIndex`."""
        with threads(self._faiss, self._options.threads):
            self._train(unit_rows(sample, self.dimension), n_rows)
        self._positions = Positions()

    def fill(self, batches: Iterable[tuple[Keys, Array]]) -> None:
        """Takes the rows of all batches; see `mmrerank.protocols.ScannedIndex`."""
        keys = [np.empty(0, np.int64)]
        with threads(self._faiss, self._options.threads):
            for ids, rows in batches:
                self._host.add(unit_rows(rows, self.dimension))
                keys.append(integer_ids(ids))
        self._positions.check(all_keys := np.concatenate(keys))
        self._positions.append(all_keys)

    def _train(self, sample: Array, n_rows: int) -> None:
        self._host = tuned(self._faiss, self._options, trained(self._faiss, self._options, self.dimension, sample, n_rows))
        self._first_size, self._file, self._copy = n_rows, None, None

    @property
    def promise(self) -> float:
        """The recall@10 that the kind is for, after its proposals are scored again; 1 where it is exact."""
        return 1.0 if self._options.kind == "flat" else rescoring_of(self._options).promise

    def proposals(self, k: int) -> int:
        """How many rows to ask for so that the k best by exact cosine are among them as often as promised."""
        rescoring = rescoring_of(self._options)
        return max(rescoring.floor, rescoring.times * k)

    @property
    def widths(self) -> tuple[int, ...]:
        """How many lists it may read, or how wide it may walk; see `mmrerank.protocols.WidenedIndex`."""
        options = self._options
        if options.kind == "flat" or self._host is None:
            return (1,)
        own = options.probes if options.kind == "ivf" else options.ef_search
        most = core(self._faiss, self._host).nlist if options.kind == "ivf" else len(self)
        most = min(most, MOST_ON_GPU) if self._gpus else most
        return (own, *(own * times for times in WIDER if own * times <= most))

    def widen(self, width: int) -> None:
        """Reads so many lists, or walks that wide, from now on; see `mmrerank.protocols.WidenedIndex`."""
        options = self._options
        self._options = replace(options, probes=width) if options.kind == "ivf" else replace(options, ef_search=width)
        self._host = None if self._host is None else tuned(self._faiss, self._options, self._host)
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
            if self._host is not None:
                sink.begin("faiss")
                self._faiss.write_index(self._host, self._faiss.PyCallbackIOWriter(sink.write))
            sink.put("first_size", np.array([self._first_size]))
            self._positions.put(sink)

        save_sealed(path, self._header(), fill)

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote.

        Raises:
            DamagedData: the file is missing, torn or changed, or this FAISS cannot read it.
            ManifestError: it holds an index built with other options, or of another dimension.
        """
        self._take(load_sealed(path, self._header()))

    def open(self, path: Path) -> None:
        """Takes over what `save` wrote where it lies, unchecked; see `mmrerank.protocols.MappedIndex`."""
        self._take(map_sealed(path, self._header()))

    def _take(self, file: Sealed) -> None:
        positions = Positions.from_file(file)
        host = self._read(file.path, mapped=file.mapped) if len(positions.keys) else None
        self._positions, self._first_size = positions, int(file.array("first_size")[0])
        self._host, self._copy, self._file = host, None, file.path if file.mapped and host is not None else None

    def _read(self, path: Path, *, mapped: bool) -> Any:
        flags = mapping_flags(self._faiss) if mapped else 0
        try:
            return tuned(self._faiss, self._options, self._faiss.read_index(str(path), flags))
        except RuntimeError as error:  # the sum was right, so another FAISS wrote it
            raise DamagedData(f"FAISS {self._faiss.__version__} cannot read {path}: {error}", hint="Rebuild the index.") from error

    def _header(self) -> dict[str, Any]:
        options = self._options
        settings = {  # what searching may change (ef_search, probes, device) is free to differ
            "flat": {},
            "hnsw": {"links": options.links, "ef_construction": options.ef_construction},
            "ivf": {"lists": options.lists, **({"bits": options.bits} if options.storage == "rabitq" else {})},
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
        """The best of all rows of the choice, none of them passed over; as exact as they are stored."""
        if self._options.kind == "ivf":
            return self._fetch(queries, k, choice, every=True)
        positions = choice.as_positions()

        def blocks() -> Iterator[tuple[Keys, Array]]:
            for span in spans(len(positions)):
                yield self._positions.keys[positions[span]], self._host.reconstruct_batch(positions[span])

        return nearest(queries, blocks, k)

    def _fetch(self, queries: Array, k: int, choice: Choice, *, every: bool = False) -> list[Neighbours]:
        """FAISS's answer, fetched deeper for the queries whose k-th place the filter or ties left open. May fall short of k, unless `every`
        list is read."""
        on_host = self._selectors_work or every
        inside = on_host and (every or choice.share < THIN)
        most = choice.count if inside else choice.positions
        most = most if on_host else min(most, MOST_ON_GPU)
        depth = min(most, k + SPARE if inside else math.ceil((k + SPARE) / choice.share))
        neighbours: list[Neighbours] = [empty()] * len(queries)
        pending = np.arange(len(queries))
        while len(pending):
            scores, positions = self._ask(queries[pending], depth, choice, inside=inside, every=every)
            batch, final = self._ranked(scores, positions, k, choice)
            for number, one in zip(pending, batch, strict=True):
                neighbours[number] = one
            pending = pending[~final] if depth < most else pending[:0]
            depth = min(most, 4 * depth)
        return neighbours

    def _ask(self, queries: Array, depth: int, choice: Choice, *, inside: bool, every: bool) -> tuple[Array, Keys]:
        """FAISS's (n_queries, depth) scores and positions, best first, -1 where it found no more; only of the choice if `inside`."""
        hits: tuple[Array, Keys]
        if self._gpus and not every:
            with self._lock:
                if self._copy is None:
                    self._copy = copied(self._faiss, self._host, self._gpus)
                hits = self._copy.search(queries, depth)
            return hits
        if choice.mask is None and not every:
            hits = self._host.search(queries, depth)
            return hits
        bits = (
            None if choice.mask is None else np.packbits(choice.mask, bitorder="little")
        )  # must outlive the search, which has its address
        selector = self._faiss.IDSelectorBitmap(bits.size, self._faiss.swig_ptr(bits)) if inside and bits is not None else None
        share = self._options.probes / core(self._faiss, self._host).nlist if every else choice.share
        hits = self._host.search(
            queries, depth, params=parameters(self._faiss, self._options, self._host, share=min(1.0, share), selector=selector)
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


def _sampled(rows: Array, most: int) -> Array:
    """So many of the rows, in their order."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(SEED).choice(len(rows), most, replace=False))]


def build(options: Options, dimension: int) -> FaissIndex:
    """The index for rows of `dimension` numbers.

    Raises:
        MissingExtra: faiss is not installed, or has no GPU part and a GPU was asked for.
        InputError: a device that is not there, a storage that the kind has not, or a kind that no GPU has.
    """
    return FaissIndex(options, dimension)


def tiny() -> FaissIndex:
    """An empty exact index for rows of 8 numbers."""
    return FaissIndex(Options(), 8)
