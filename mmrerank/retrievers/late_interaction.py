"""Pages by the best match of each query token among their own: candidates by pooled vectors, then exact MaxSim.

Works on an encoder of many vectors an item, such as `multivector/...`, which the collection keeps as float16; `_many_vectors.py` says
how. Scores lie within ± the number of query tokens.

Source: Khattab & Zaharia 2020 (ColBERT), Faysse et al. 2024 (ColPali); candidates by mean vectors are ours, for an index that
holds one row an item.  Cost per query: one encoder call, one index search, n_query_tokens x proposals x tokens a page products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast

import numpy as np
from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.protocols import Corpus, CorpusCapabilities, EmbeddingSpace, TokenEncoder
from mmrerank.retrievers._many_vectors import PROPOSALS, TokenSpace, best_matches, query_vectors
from mmrerank.retrievers._query_rows import QueryCache, modalities, ranked
from mmrerank.testing.fakes import FakeSpace, HashEncoder, fake_corpus
from mmrerank.types import Array, Candidate, Item, Modality, PageNames, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    proposals: Annotated[int, Field(ge=1)] = PROPOSALS  # pages whose vectors are compared exactly
    encoder: str | None = None  # which of the collection's encoders; None: the first that takes the query


class LateInteraction:
    """Retrieves by MaxSim over the vectors of each page, of pages that one row proposes."""

    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.name = printed("late_interaction", options)
        self._options, self._corpus = options, corpus
        self._cached_tokens = QueryCache(self._query_tokens)

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k best of the proposals by MaxSim; of equals the first by item_id.

        Raises:
            InputError: the query is no single text or picture, has exclusions, or the encoder has one row an item.
        """
        vectors, row = self._cached_tokens(query), self.query_row(query)
        matches = best_matches(self.space(query), vectors, row, k, proposals=self._options.proposals, filter=query.filter)
        return ranked(query, matches, "MaxSim")

    def query_row(self, query: Query) -> Array:
        """(dimension,) unit row by which items are proposed."""
        row: Array = cast(TokenEncoder, self.space(query).encoder).pooled([self._cached_tokens(query)])[0]
        return row

    def space(self, query: Query) -> TokenSpace:
        """The space of the encoder that takes what the query is made of.

        Raises:
            InputError: there is none, or it has one row an item.
        """
        space = self._corpus.space(takes=modalities(query), encoder=self._options.encoder)
        if not isinstance(space.encoder, TokenEncoder):
            raise InputError(
                f"late_interaction needs many vectors an item; {space.encoder.name!r} has one",
                hint="Index with multivector/CHECKPOINT; where another comes before it, say late_interaction(encoder='multivector/...').",
            )
        return cast(TokenSpace, space)

    def _query_tokens(self, query: Query) -> Array:
        if query.exclude_text or query.exclude_images or bool(query.text) + len(query.images) != 1:
            message = f"query {query.query_id!r} is not one text or one picture; late_interaction takes just that"
            raise InputError(message, hint="Use 'dense' for exclusions and several pictures, 'composed' for picture and text.")
        value = query.images[0].open() if query.images else query.text
        return query_vectors(self.space(query).encoder, value)


def works_on(corpus: CorpusCapabilities) -> bool:
    return any(isinstance(encoder, TokenEncoder) for encoder in corpus.encoders)


def build(options: Options, corpus: Corpus) -> LateInteraction:
    return LateInteraction(options, corpus)


class _WordEncoder(HashEncoder):
    """A test double with a vector for each word."""

    def encode_tokens(self, values: Sequence[Any]) -> list[Array]:
        return [HashEncoder.encode(self, value.split() or [""]) for value in values]

    def pooled(self, tokens: Sequence[Array], *, normalise: bool = True) -> Array:
        means = np.stack([rows.mean(axis=0) for rows in tokens])
        return means / np.linalg.norm(means, axis=1, keepdims=True) if normalise else means

    def encode(self, values: Sequence[Any], *, normalise: bool = True) -> Array:
        return self.pooled(self.encode_tokens(values), normalise=normalise)


class _WordSpace(FakeSpace):
    def __init__(self, items: Sequence[Item]) -> None:
        super().__init__(items)
        self.encoder = self._words = _WordEncoder()
        self._texts = {item.item_id: item.text or "" for item in items}
        self._rows = self.encoder.encode(list(self._texts.values()))

    def tokens(self, item_ids: Sequence[str]) -> list[Array]:
        return self._words.encode_tokens([self._texts[item_id] for item_id in item_ids])


class _WordCorpus:
    """The double of a collection, with a vector for each word of its items."""

    def __init__(self) -> None:
        inner = fake_corpus()
        texts = [candidate.item for candidate in inner.space(takes=frozenset()).nearest(np.ones(8, np.float32), 100)]
        self._space = _WordSpace(sorted(texts, key=lambda item: item.item_id))
        self._inner = inner

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        return self._space

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        return self._inner.matching(text, k, filter=filter)

    def idf(self, text: str) -> Mapping[str, float]:
        return self._inner.idf(text)

    def pages(self, names: PageNames, k: int, *, filter: str | None = None) -> list[Item]:
        return self._inner.pages(names, k, filter=filter)


def tiny() -> LateInteraction:
    return build(Options(), _WordCorpus())
