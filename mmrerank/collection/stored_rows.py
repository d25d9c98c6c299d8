"""Every stored row compared: exact, in bounded memory, for what has no index yet and for filters that leave few rows.

Cost per query: reading the descriptors, 2 GB a million of 512 numbers; of a filter that leaves few rows, those.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mmrerank.index import nearest
from mmrerank.store.table import Snapshot
from mmrerank.types import Array, Keys, Neighbours

FEW = 2_048  # rows that are looked up one by one; more are met in a scan


class StoredRows:
    """What of `mmrerank.protocols.Index` a search needs, over the table itself."""

    def __init__(self, snapshot: Snapshot, slug: str) -> None:
        self._snapshot, self._slug = snapshot, slug

    def search(self, rows: Array, k: int, *, allowed: Keys | None = None) -> list[Neighbours]:
        """The k best of each of (n_queries, dimension) rows, among `allowed` only when it is given, ascending. Ties go by id."""

        def blocks() -> Iterator[tuple[Keys, Array]]:
            if allowed is not None and len(allowed) <= FEW:
                yield self._snapshot.some_described(allowed, self._slug)
                return
            for keys, some in self._snapshot.scan(self._slug):
                inside = slice(None) if allowed is None else np.isin(keys, allowed)
                yield keys[inside], some[inside]

        return nearest(rows, lambda: ((keys, some) for keys, some in blocks() if len(keys)), k)
