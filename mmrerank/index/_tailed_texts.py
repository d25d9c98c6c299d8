"""Texts as they were indexed, which never changes; those that came since; tombstones on those that went.

Cost per query: that of both indexes. Words weigh in all of them what they weighed when the first were indexed, so scores compare, and
differ from those of an index that is made anew by what words have become commoner or rarer since.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmrerank.index._idf import idf_of
from mmrerank.index._positions import difference
from mmrerank.index.bm25_index import Bm25Index
from mmrerank.types import Keys, Neighbours


class TailedTexts:
    """Searched as a `Bm25Index`."""

    def __init__(self, base: Bm25Index, tail: Bm25Index | None = None) -> None:
        self.base = base
        self.tail = base.further(np.empty(0, np.int64), []) if tail is None else tail

    def __len__(self) -> int:
        return len(self.base) + len(self.tail)

    @property
    def ids(self) -> Keys:
        """(n,) ascending."""
        return np.sort(np.concatenate([self.base.ids, self.tail.ids])) if len(self.tail) else self.base.ids

    def lacking(self, ids: Keys) -> Keys:
        """Those of ascending ids that it does not hold."""
        return difference(difference(ids, self.base.ids), self.tail.ids)

    @property
    def changed(self) -> int:
        """How many texts came or went since the first were indexed."""
        return len(self.tail) + len(self.base.gone)

    def add(self, ids: Keys, texts: Sequence[str]) -> None:
        """Adds texts to those that came since.

        Raises:
            ShapeError: not as many ids as texts.
            InputError: an id twice.
        """
        self.tail = self.tail.joined(self.base.further(ids, texts))

    def remove(self, ids: Keys) -> None:
        """Makes these ids unfindable."""
        self.base.remove(ids)
        self.tail = self.tail.without(ids)

    def search(self, text: str, k: int, *, allowed: Keys | None = None) -> Neighbours:
        """As of `Bm25Index`."""
        hits = self.base.search(text, k, allowed=allowed)
        if not len(self.tail):
            return hits
        more = self.tail.search(text, k, allowed=allowed)
        ids, scores = np.concatenate([hits.ids, more.ids]), np.concatenate([hits.scores, more.scores])
        order = np.lexsort((ids, -scores))[:k]
        return Neighbours(ids=ids[order], scores=scores[order])

    def idf(self, text: str) -> dict[str, float]:
        """As of `Bm25Index`, over all of them."""
        more, count = self.tail.holders(text), len(self.base) + len(self.base.gone) + len(self.tail)
        return {term: idf_of(texts + more[term], count) for term, texts in self.base.holders(text).items()}
