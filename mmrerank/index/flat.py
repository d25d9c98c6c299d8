"""Index "flat": every row is compared, in numpy or torch. The plain twin of the FAISS indexes.

Cost per query: one pass over all rows, n * dimension * 4 bytes of reading, which is the whole cost for one query; a batch
shares the pass. Adding and removing copy the rows. It needs no library beyond numpy (or torch), on any device torch knows.
Opened from its file in numpy, the rows stay there until a search reads them, and processes share the pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmrerank.errors import InputError
from mmrerank.index._checks import integer_ids, positive, unit_rows, with_ids
from mmrerank.index._exact import Hits, empty, nearest, spans, top_numpy
from mmrerank.index._files import Sealed, Sink, load_sealed, map_sealed, save_sealed
from mmrerank.index._positions import Positions
from mmrerank.ordering import ROUNDING
from mmrerank.parts import printed, runtime_option
from mmrerank.types import Array, Keys, Neighbours

SEARCHES = "rows"


@dataclass(frozen=True, kw_only=True)
class Options:
    engine: Literal["numpy", "torch"] = "numpy"  # what multiplies
    device: str = runtime_option("auto")  # for torch; auto takes CUDA where there is one


class Flat:
    """An `Index` (types.py) without approximation."""

    def __init__(self, options: Options, dimension: int) -> None:
        self.name = printed("flat", options)
        self.dimension = positive(dimension)
        self._engine = TorchEngine(options.device, dimension) if options.engine == "torch" else NumpyEngine(dimension)
        self._positions = Positions()
        self._is_mapped = False

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def ids(self) -> Keys:
        """(n,) ascending."""
        return self._positions.ids.copy()

    @property
    def needs_rebuild(self) -> bool:
        """Never: what is removed is gone at once, or as much as gone."""
        return False

    def sample_size(self, n_rows: int) -> int:
        """0: nothing is trained."""
        return 0

    def train(self, sample: Array, n_rows: int) -> None:
        """Drops what it holds, and makes room; see `mmrerank.protocols.ScannedIndex`."""
        self._engine.reserve(n_rows)
        self._positions, self._is_mapped = Positions(), False

    def fill(self, batches: Iterable[tuple[Keys, Array]]) -> None:
        """Takes the rows of all batches; see `mmrerank.protocols.ScannedIndex`."""
        keys = [np.empty(0, np.int64)]
        for ids, rows in batches:
            self._engine.append(unit_rows(rows, self.dimension))
            keys.append(integer_ids(ids))
        self._positions.check(all_keys := np.concatenate(keys))
        self._positions.append(all_keys)

    def add(self, ids: Keys, rows: Array) -> None:
        """Adds (n, dimension) unit rows under (n,) new ids.

        Raises:
            ShapeError: another dimension, or not as many ids as rows.
            InputError: an id that it holds, an id twice, or a row that is not of unit length.
        """
        ids, rows = with_ids(ids, rows, self.dimension)
        self._positions.check(ids)
        self._engine.append(rows)
        self._positions.append(ids)
        self._is_mapped = False

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable; one that it does not hold is left aside."""
        self._positions.forget(integer_ids(ids))
        if self._positions.dead and not self._is_mapped:  # rows in a file stay there
            alive = self._positions.alive
            self._engine.keep(np.flatnonzero(alive))
            self._positions = Positions(self._positions.keys[alive])

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
        positions = None if choice.mask is None else choice.as_positions()

        def blocks() -> Iterator[tuple[Keys, Any]]:
            for span in spans(choice.count):
                where = span if positions is None else positions[span]
                yield self._positions.keys[where], self._engine.rows(where)

        return nearest(queries, blocks, k, self._engine.top)

    def save(self, path: Path) -> None:
        """Writes the index to one file."""

        def fill(sink: Sink) -> None:
            sink.put("rows", self._engine.to_numpy())
            self._positions.put(sink)

        save_sealed(path, self._header(), fill)

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote, from either engine.

        Raises:
            DamagedData: the file is missing, torn or changed.
            ManifestError: it holds an index of another kind or dimension.
        """
        self._take(load_sealed(path, self._header()))

    def open(self, path: Path) -> None:
        """Takes over what `save` wrote where it lies, unchecked; see `mmrerank.protocols.MappedIndex`."""
        self._take(map_sealed(path, self._header()))

    def _take(self, file: Sealed) -> None:
        self._positions = Positions.from_file(file)
        self._engine.take(file.array("rows"))
        self._is_mapped = file.mapped

    def _header(self) -> dict[str, Any]:
        return {"index": "flat", "dimension": self.dimension}


class NumpyEngine:
    """Rows in a numpy array, with room behind them where it is known how many come."""

    top = staticmethod(top_numpy)

    def __init__(self, dimension: int) -> None:
        self._room: Array = np.empty((0, dimension), np.float32)
        self._count = 0

    def reserve(self, count: int) -> None:
        """Drops the rows, and makes room for so many."""
        self._room, self._count = np.empty((count, self._room.shape[1]), np.float32), 0

    def append(self, rows: Array) -> None:
        end = self._count + len(rows)
        if end > len(self._room):
            self._room = np.concatenate([self._room[: self._count], rows])
        else:
            self._room[self._count : end] = rows
        self._count = end

    def take(self, rows: Array) -> None:
        """These rows in place of those that there are."""
        self._room, self._count = rows, len(rows)

    def keep(self, positions: Keys) -> None:
        self.take(self._room[positions])

    def rows(self, where: slice | Keys) -> Array:
        return self._room[where]

    def to_numpy(self) -> Array:
        return self._room[: self._count]


class TorchEngine:
    """Rows in a torch tensor, on the CPU or an accelerator."""

    def __init__(self, device: str, dimension: int) -> None:
        import torch

        self._torch = torch
        name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
        try:
            self._rows = torch.empty((0, dimension), dtype=torch.float32, device=name)
        except (RuntimeError, AssertionError) as error:  # torch says "no CUDA" with either
            raise InputError(f"torch cannot use the device {device!r}: {error}", hint='Pass device="cpu" or device="auto".') from error

    def reserve(self, count: int) -> None:
        """Drops the rows; torch has no use for their number."""
        self._rows = self._rows[:0]

    def take(self, rows: Array) -> None:
        """These rows in place of those that there are."""
        self._rows = self._tensor(rows)

    def append(self, rows: Array) -> None:
        self._rows = self._torch.cat([self._rows, self._tensor(rows)])

    def keep(self, positions: Keys) -> None:
        self._rows = self._rows[self._tensor(positions)]

    def rows(self, where: slice | Keys) -> Any:
        return self._rows[where if isinstance(where, slice) else self._tensor(where)]

    def to_numpy(self) -> Array:
        array: Array = self._rows.cpu().numpy()
        return array

    def top(self, queries: Array, rows: Any, k: int) -> Hits:
        """The twin of `top_numpy`."""
        scores = self._tensor(queries) @ rows.T  # (n_queries, n_rows)
        worst = scores.topk(min(k, len(rows)), dim=1).values[:, -1:]
        query, row = (scores >= worst - ROUNDING).nonzero(as_tuple=True)
        return query.cpu().numpy(), row.cpu().numpy(), scores[query, row].cpu().numpy()

    def _tensor(self, array: Any) -> Any:
        return self._torch.tensor(array, device=self._rows.device)  # a copy: the caller's array may be read-only


def build(options: Options, dimension: int) -> Flat:
    """The index for rows of `dimension` numbers."""
    return Flat(options, dimension)


def tiny() -> Flat:
    """An empty index for rows of 8 numbers."""
    return Flat(Options(), 8)
