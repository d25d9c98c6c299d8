"""One encoder's descriptors with the index over them: what `dense` and `composed` search in.

The index proposes; the scores are exact cosines over the stored float32 descriptors, so they mean the same on every
index, in every batch size, and on every machine with the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmrerank.collection.items import ItemReader
from mmrerank.collection.recall import proposals
from mmrerank.collection.stored_rows import FEW, StoredRows
from mmrerank.errors import InputError, ShapeError
from mmrerank.ordering import levelled
from mmrerank.protocols import Encoder, MeasuredIndex, RowSearcher
from mmrerank.store.records import slug_of
from mmrerank.store.table import Snapshot
from mmrerank.types import Array, Candidate, Keys

SLACK = 16  # proposals beyond k, so that ties at the cut are settled by item_id and not by the index


class EncoderSpace:
    """See `mmrerank.protocols.EmbeddingSpace`."""

    def __init__(self, encoder: Encoder, index: RowSearcher, snapshot: Snapshot, items: ItemReader) -> None:
        self.encoder = encoder
        self.index = index
        self._snapshot, self._items = snapshot, items
        self._slug = slug_of(encoder.name)

    def nearest(self, row: Array, k: int, *, filter: str | None = None) -> list[Candidate]:
        """The k items nearest to a (dimension,) row, best first; the score is the exact cosine, ties go by item_id.

        Raises:
            ShapeError: the row has another dimension.
            InputError: the filter cannot be used, or k < 1.
        """
        if row.shape != (self.encoder.dimension,):
            raise ShapeError(f"expected a row of {self.encoder.dimension} numbers for {self.encoder.name!r}; got shape {row.shape}")
        if k < 1:
            raise InputError(f"k must be at least 1; got {k}")
        allowed = None if filter is None else self._snapshot.where(filter)
        searched = self._for(allowed)
        hits = searched.search(row[None, :].astype(np.float32, copy=False), proposals(searched, k, SLACK), allowed=allowed)[0].ids
        return self._rescored(row, hits, k)

    def _for(self, allowed: Keys | None) -> RowSearcher:
        """What searches: the stored rows where a filter leaves so few that an index which may miss some is not asked."""
        is_exact = not isinstance(self.index, MeasuredIndex) or self.index.promise >= 1
        return self.index if allowed is None or is_exact or len(allowed) > FEW else StoredRows(self._snapshot, self._slug)

    def rows(self, item_ids: Sequence[str]) -> Array:
        """(n, dimension) float32 descriptors of these items.

        Raises:
            InputError: an item is not in the collection or has no descriptor of this encoder.
        """
        return self._snapshot.descriptors(self._snapshot.keys_of(item_ids), self._slug)

    def missing(self, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why some of these items have no row here, by id."""
        known = self._snapshot.known(item_ids)
        described, _ = self._snapshot.some_described(np.array(sorted(known.values()), dtype=np.int64), self._slug)
        none, there = f"it has no descriptor of {self.encoder.name!r}", frozenset(described.tolist())
        return {i: none if i in known else "it is not in the collection" for i in item_ids if known.get(i) not in there}

    def tokens(self, item_ids: Sequence[str]) -> list[Array]:
        """The (n_tokens, dimension) float32 token vectors of each item, for an encoder that has many an item.

        Raises:
            InputError: an item is not in the collection or has none.
        """
        return self._snapshot.tokens(self._snapshot.keys_of(item_ids), self._slug)

    def _rescored(self, row: Array, keys: Keys, k: int) -> list[Candidate]:
        """Of all proposals the vectors are read, of the k best and of those as good as the last of them the fields."""
        keys, rows = self._snapshot.some_described(keys, self._slug)
        scores = rows.astype(np.float64) @ row.astype(np.float64)  # float64: free of the order of summation
        scores = levelled(scores.astype(np.float32))
        best = np.lexsort((keys, -scores))
        best = best[: max(k, np.searchsorted(-scores[best], -scores[best[min(k, len(best)) - 1]], side="right"))] if len(best) else best
        best = best[: k + SLACK]
        fields = self._snapshot.records(keys[best])
        order = sorted(range(len(best)), key=lambda n: (-scores[best[n]], fields[n]["item_id"]))[:k]
        return [Candidate(item=self._items.item(fields[n]), score=float(scores[best[n]])) for n in order]
