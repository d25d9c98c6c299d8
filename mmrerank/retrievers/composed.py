"""Picture and text in one query: the weighted sum of their descriptors in the space of a dual encoder.

    q = unit( (1 - alpha) image + alpha text ),  then less `exclude_weight` times each exclusion, unit again

`normalise_inputs` says whether image and text are brought to unit length before the sum. Their lengths differ as the
encoder leaves them, so the same alpha means something else on either side of the switch: 0.5 suits unit inputs, 0.8 is
the usual choice for inputs as they come (read in the notes on WeiMoCIR and SQUARE; the sum after unit length is ours).

Source: the weighted-sum baseline of zero-shot composed retrieval.  Cost per query: two encoder calls, one index search.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.retrievers._query_rows import QueryCache, fused_row, modalities, ranked, without_excluded
from mmrerank.testing.fakes import fake_corpus
from mmrerank.types import Array, Corpus, EmbeddingSpace, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    alpha: float = 0.5  # weight of the text, 0..1
    normalise_inputs: bool = True
    exclude_weight: float = 0.5
    encoder: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha weights the text and lies in 0..1; got {self.alpha}")


class Composed:
    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.name = printed("composed", options)
        self._options, self._corpus = options, corpus
        self._cached_row = QueryCache(self._query_row)

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k items nearest to the fused query; a query of one modality is searched as it is.

        Raises:
            InputError: no encoder of the collection takes both pictures and text, or the parts cancel out.
        """
        candidates = self.space(query).nearest(self.query_row(query), k, filter=query.filter)
        return ranked(query, candidates, "cosine")

    def query_row(self, query: Query) -> Array:
        """(dimension,) unit row that `retrieve` searches with."""
        return self._cached_row(query)

    def _query_row(self, query: Query) -> Array:
        options = self._options
        encoder = self.space(query).encoder
        row = fused_row(encoder, query, alpha=options.alpha, normalise=options.normalise_inputs)
        return without_excluded(row, encoder, query, options.exclude_weight)

    def space(self, query: Query) -> EmbeddingSpace:
        """The space of the encoder that takes what the query is made of."""
        return self._corpus.space(takes=modalities(query), encoder=self._options.encoder)


def build(options: Options, corpus: Corpus) -> Composed:
    return Composed(options, corpus)


def tiny() -> Composed:
    return Composed(Options(), fake_corpus())
