"""Picture and text in one query: one row that an encoder makes of both, or the weighted sum of two in the space of a dual encoder.

    an encoder that fuses (`universal/...`)    q = encoder(pictures, text), under `instruction`
    any other                                  q = unit( (1 - alpha) image + alpha text )
    then less `exclude_weight` times the row of each exclusion, unit again

Whether an encoder fuses is what it declares (`FusingEncoder`); `fuse=False` sums with such a one too. alpha and `normalise_inputs` belong
to the sum: the latter says whether image and text are brought to unit length before. Their lengths differ as the encoder leaves them, so
the same alpha means something else on either side of that switch: 0.5 suits unit inputs, 0.8 is the usual choice for inputs as they come
(read in the notes on WeiMoCIR and SQUARE; the sum after unit length is ours). Exclusions are subtracted, since encoders read "no door" as
a door.

Source: the weighted-sum baseline of zero-shot composed retrieval; fused queries after Qwen3-VL-Embedding's inputs of mixed modalities.
Cost per query: one pass through a fusing encoder, or two encoder calls; one more for each exclusion; one index search.
"""

from __future__ import annotations

from dataclasses import dataclass

from mmrerank.errors import InputError
from mmrerank.parts import printed
from mmrerank.protocols import Corpus, CorpusCapabilities, EmbeddingSpace, FusingEncoder
from mmrerank.retrievers._query_rows import QueryCache, fused_row, modalities, ranked, summed_row, without_excluded
from mmrerank.testing.fakes import fake_corpus
from mmrerank.types import Array, Query, Ranking


@dataclass(frozen=True, kw_only=True)
class Options:
    alpha: float = 0.5  # weight of the text in a sum, 0..1
    normalise_inputs: bool = True  # of a sum: bring image and text to length 1 before
    exclude_weight: float = 0.5  # how much of each exclusion is subtracted from the unit query row
    encoder: str | None = None  # which of the collection's encoders; None: the first that takes the query
    fuse: bool = True  # ask an encoder that fuses for one row; False: sum all the same
    instruction: str | None = None  # what to look for, to an encoder that fuses; None: its own, '': none

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise InputError(f"alpha weights the text and lies in 0..1; got {self.alpha}")


class Composed:
    """Retrieves by one row for pictures, text and exclusions together."""

    def __init__(self, options: Options, corpus: Corpus) -> None:
        self.name = printed("composed", options)
        self._options, self._corpus = options, corpus
        self._cached_row = QueryCache(self._query_row)

    def retrieve(self, query: Query, k: int) -> Ranking:
        """The k items nearest to the query as one row; a query of one modality is searched as it is.

        Raises:
            InputError: no encoder of the collection takes both pictures and text, the parts cancel out, or weights or an instruction
                are given that the encoder cannot follow.
        """
        candidates = self.space(query).nearest(self.query_row(query), k, filter=query.filter)
        return ranked(query, candidates, "cosine")

    def query_row(self, query: Query) -> Array:
        """(dimension,) unit row that `retrieve` searches with."""
        return self._cached_row(query)

    def _query_row(self, query: Query) -> Array:
        options = self._options
        encoder = self.space(query).encoder
        if options.fuse and isinstance(encoder, FusingEncoder):
            row = fused_row(encoder, query, instruction=options.instruction)
        elif options.instruction:
            raise InputError(
                f"instruction is for an encoder that fuses; {encoder.name!r} makes a row of each part, and the rows are summed"
            )
        else:
            row = summed_row(encoder, query, alpha=options.alpha, normalise=options.normalise_inputs)
        return without_excluded(row, encoder, query, options.exclude_weight)

    def space(self, query: Query) -> EmbeddingSpace:
        """The space of the encoder that takes what the query is made of."""
        return self._corpus.space(takes=modalities(query), encoder=self._options.encoder)


def works_on(corpus: CorpusCapabilities) -> bool:
    return corpus.takes("image", "text")


def build(options: Options, corpus: Corpus) -> Composed:
    return Composed(options, corpus)


def tiny() -> Composed:
    return Composed(Options(), fake_corpus())
