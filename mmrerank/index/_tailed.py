"""An index as it was built, which never changes; the rows that came since, compared exactly; tombstones on those that went.

Cost per query: that of the index, and one pass over the rows that came since: 20,000 of 512 numbers take 3 ms. What the two propose is
merged by score, so where the scores of the index are rough its proposals should be scored again; the others are exact already.
"""

from __future__ import annotations

import numpy as np

from mmrerank.index._exact import merged
from mmrerank.index._positions import difference
from mmrerank.index.flat import Flat, Options
from mmrerank.protocols import Index, MeasuredIndex
from mmrerank.types import Array, Keys, Neighbours

MOST_CHANGED = 0.05  # share of the rows that came or went since, above which a rebuild pays


def rebuild_pays(changed: int, built: int) -> bool:
    """Whether so many rows that came or went since it was built with so many are more than a twentieth."""
    return changed > MOST_CHANGED * built


class TailedIndex:
    """See `mmrerank.protocols.MeasuredIndex`, which this is."""

    def __init__(self, base: Index, dimension: int) -> None:
        self.base, self.tail = base, Flat(Options(), dimension)
        self._measured = base if isinstance(base, MeasuredIndex) else None  # asked once: a protocol's check costs .05 ms
        self._built = len(base)
        self._gone: list[Keys] = []

    @property
    def name(self) -> str:
        return self.base.name

    def __len__(self) -> int:
        return len(self.base) + len(self.tail)

    @property
    def ids(self) -> Keys:
        """(n,) ascending."""
        ids = self.base.ids
        return np.insert(ids, np.searchsorted(ids, self.tail.ids), self.tail.ids) if len(self.tail) else ids

    def lacking(self, ids: Keys) -> Keys:
        """Those of ascending ids that it does not hold."""
        return difference(difference(ids, self.base.ids), self.tail.ids)

    @property
    def gone(self) -> Keys:
        """(n,) what was removed of the index as it was built, ascending."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *self._gone]))

    @property
    def promise(self) -> float:
        """See `MeasuredIndex`; 1 for an index that says nothing, which is taken to be exact."""
        return 1.0 if self._measured is None else self._measured.promise

    def proposals(self, k: int) -> int:
        """See `MeasuredIndex`."""
        return k if self._measured is None else self._measured.proposals(k)

    @property
    def changed(self) -> int:
        """How many rows came or went since it was built."""
        return len(self.tail) + self._built - len(self.base)

    @property
    def needs_rebuild(self) -> bool:
        """Whether more than a twentieth came or went since it was built."""
        return rebuild_pays(self.changed, self._built)

    def add(self, ids: Keys, rows: Array) -> None:
        """Adds (n, dimension) unit rows to those that came since."""
        self.tail.add(ids, rows)

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable."""
        count = len(self.base)
        self.base.remove(ids)
        if len(self.base) < count:
            self._gone.append(ids)
        if len(self.tail):
            self.tail.remove(ids)

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """The k best of both for each of (n_queries, dimension) rows; see `Index`."""
        built = self.base.search(rows, k, allowed=allowed)
        if not len(self.tail):
            return built
        return [merged(pair, k) for pair in zip(built, self.tail.search(rows, k, allowed=allowed), strict=True)]
