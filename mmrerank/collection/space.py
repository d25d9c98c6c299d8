"""One encoder's descriptors with the index over them: what `dense` and `composed` search in.

The index proposes; the scores are exact cosines over the stored float32 descriptors, so they mean the same on every
index, in every batch size, and on every machine with the same order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmrerank.collection.items import ItemReader
from mmrerank.errors import InputError, ShapeError
from mmrerank.ordering import levelled
from mmrerank.protocols import Encoder, Index
from mmrerank.store.records import slug_of
from mmrerank.store.table import Snapshot
from mmrerank.types import Array, Candidate, Keys

SLACK = 16  # proposals beyond k, so that ties at the cut are settled by item_id and not by the index


class EncoderSpace:
    """See `mmrerank.protocols.EmbeddingSpace`."""

    def __init__(self, encoder: Encoder, index: Index, snapshot: Snapshot, items: ItemReader) -> None:
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
        proposed = self.index.search(row[None, :].astype(np.float32, copy=False), k + SLACK, allowed=allowed)[0].ids
        return self._rescored(row, proposed, k)

    def rows(self, item_ids: Sequence[str]) -> Array:
        """(n, dimension) float32 descriptors of these items.

        Raises:
            InputError: an item is not in the collection or has no descriptor of this encoder.
        """
        return self._snapshot.descriptors(self._snapshot.keys_of(item_ids), self._slug)

    def missing(self, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why some of these items have no row here, by id."""
        known = self._snapshot.known(item_ids)
        described = frozenset(self._snapshot.described(self._slug).tolist())
        none = f"it has no descriptor of {self.encoder.name!r}"
        return {i: none if i in known else "it is not in the collection" for i in item_ids if known.get(i) not in described}

    def tokens(self, item_ids: Sequence[str]) -> list[Array]:
        """The (n_tokens, dimension) float32 token vectors of each item, for an encoder that has many an item.

        Raises:
            InputError: an item is not in the collection or has none.
        """
        return self._snapshot.tokens(self._snapshot.keys_of(item_ids), self._slug)

    def _rescored(self, row: Array, keys: Keys, k: int) -> list[Candidate]:
        fields, rows = self._snapshot.records(keys, slug=self._slug)
        scores = (rows.astype(np.float64) @ row.astype(np.float64)).astype(np.float32)  # float64: free of the order of summation
        scores = levelled(scores)
        order = sorted(range(len(fields)), key=lambda n: (-scores[n], fields[n]["item_id"]))[:k]
        return [Candidate(item=self._items.item(fields[n]), score=float(scores[n])) for n in order]
