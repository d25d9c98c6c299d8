"""Nearest descriptors to a text, a picture or several pictures.

Where the encoder cuts long texts into passages (`sentence/...`), the best passage scores its page: `proposals` pages are proposed by
the mean of their passages, and compared exactly.

Source: the usual dual-encoder search (Radford et al. 2021, CLIP); the best passage of a text after Dai & Callan 2019 (MaxP).
Cost per query: one encoder call, one index search; for passages their vectors of `proposals` pages too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.protocols import Corpus, CorpusCapabilities, EmbeddingSpace
from mmrerank.retrievers._many_vectors import PROPOSALS, best_matches, has_passages
from mmrerank.retrievers._query_rows import QueryCache, image_row, modalities, ranked, text_row, without_excluded
from mmrerank.testing.fakes import fake_corpus
from mmrerank.types import Array, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    encoder: str | None = None  # which of the collection's encoders; None: the first that takes the query
    exclude_weight: float = 0.5  # how much of each exclusion is subtracted from the unit query row
    proposals: Annotated[int, Field(ge=1)] = PROPOSALS  # pages whose passages are compared


class Dense:
    """Retrieves by cosine with the row of the query."""

    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.name = printed("dense", options)
        self._options, self._corpus = options, corpus
        self._cached_row = QueryCache(self._query_row)

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k items nearest to the query, with exact cosines as scores, of their best passages where they have some.

        Raises:
            InputError: the query has text and pictures (`composed` takes those), or no encoder takes it.
        """
        row = self.query_row(query)  # first: it says best what is wrong with a query
        space = self.space(query)
        if has_passages(space):
            matches = best_matches(space, row[None], row, k, proposals=self._options.proposals, filter=query.filter)
            return ranked(query, matches, "best passage")
        return ranked(query, space.nearest(row, k, filter=query.filter), "cosine")

    def query_row(self, query: Query) -> Array:
        """(dimension,) unit row that `retrieve` searches with."""
        return self._cached_row(query)

    def _query_row(self, query: Query) -> Array:
        if query.text and query.images:
            raise InputError(
                f"query {query.query_id!r} has text and pictures; dense takes one of them", hint="Use the retriever 'composed'."
            )
        encoder = self.space(query).encoder
        row = image_row(encoder, query) if query.images else text_row(encoder, [query.text or ""])
        return without_excluded(row, encoder, query, self._options.exclude_weight)

    def space(self, query: Query) -> EmbeddingSpace:
        """The space of the encoder that takes what the query is made of."""
        return self._corpus.space(takes=modalities(query), encoder=self._options.encoder)


def works_on(corpus: CorpusCapabilities) -> bool:
    return bool(corpus.encoders)


def build(options: Options, corpus: Corpus) -> Dense:
    return Dense(options, corpus)


def tiny() -> Dense:
    return Dense(Options(), fake_corpus())
