"""Descriptors -> neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from mmrerank.types import Array, Keys, Neighbours


class Index(Protocol):
    """Descriptors -> neighbours, by cosine."""

    name: str

    def __len__(self) -> int: ...

    @property
    def ids(self) -> Keys:
        """(n,) the ids it holds, ascending."""
        ...

    def add(self, ids: Keys, rows: Array) -> None:
        """Adds (n, dimension) unit rows under ids that it does not hold yet; the first call also trains where the kind needs it."""
        ...

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable."""
        ...

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """The k best of each of (n_queries, dimension) rows, among `allowed` only when it is given. Ties go by id."""
        ...

    def save(self, path: Path) -> None:
        """Writes what it holds to a file."""
        ...

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote.

        Raises:
            DamagedData: the file is missing, torn or changed.
            ManifestError: it holds another kind of index, or one of other options.
        """
        ...

    @property
    def needs_rebuild(self) -> bool:
        """Whether so much was added or removed since it was built that a rebuild pays."""
        ...


class RowSearcher(Protocol):
    """What a search by descriptors asks: an index, or what stands in for one."""

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """As of `Index`."""
        ...


@runtime_checkable
class ScannedIndex(Protocol):
    """An index that is built from one scan, some thousand rows at a time, in any order: it never holds them all beside itself."""

    def sample_size(self, n_rows: int) -> int:
        """How many of `n_rows` rows, drawn at random, it is to be trained on."""
        ...

    def train(self, sample: Array, n_rows: int) -> None:
        """Drops what it holds, and makes ready for about `n_rows` rows like the (m, dimension) unit rows of the sample, at least one where
        `sample_size` asks for some."""
        ...

    def fill(self, batches: Iterable[tuple[Keys, Array]]) -> None:
        """Takes the rows of all batches, (n,) ids and (n, dimension) unit rows each; for an index that was trained just now."""
        ...


@runtime_checkable
class MappedIndex(Protocol):
    """An index that can be opened where its file lies: nothing is read before a search needs it, and processes share the pages."""

    def open(self, path: Path) -> None:
        """As `load`, but unchecked: of a file that was checked when it was saved, and has the size and the time that it had then."""
        ...


@runtime_checkable
class MeasuredIndex(RowSearcher, Protocol):
    """An index that may miss rows, and says how often it is meant to."""

    @property
    def promise(self) -> float:
        """The recall@10 that it is for, once its proposals are scored again on the rows; 1 for one that is exact."""
        ...

    def proposals(self, k: int) -> int:
        """How many rows to ask for so that the k best by exact cosine are among them as often as promised."""
        ...


@runtime_checkable
class WidenedIndex(MeasuredIndex, Protocol):
    """An index that finds more where it searches wider, for more time a query, without being built anew."""

    @property
    def widths(self) -> Sequence[int]:
        """How wide it may search, ascending; its own width comes first."""
        ...

    def widen(self, width: int) -> None:
        """Searches that wide from now on."""
        ...
