"""Items that have many vectors each: what their encoders and spaces offer, and the exact search among proposals.

    1. the `proposals` items nearest to the query's row, by the ordinary index over one row an item: the mean of its vectors
    2. score = Σ over the query's vectors of the best dot product with one of the item's (MaxSim), exact

For a query of one vector, as encoders of passages have it, that is the cosine of the best passage. An item that is not among the
proposals is not found, however well one of its vectors matches: more proposals cost time and miss less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeGuard, cast

from mmrerank.ordering import levelled
from mmrerank.protocols import EmbeddingSpace, Encoder, PassageEncoder, QueryTokenEncoder, TokenEncoder
from mmrerank.retrievers._max_sim import max_sim
from mmrerank.types import Array, Candidate

PROPOSALS = 200


class TokenSpace(EmbeddingSpace, Protocol):
    """A space that keeps the token vectors too."""

    def tokens(self, item_ids: Sequence[str]) -> list[Array]:
        """(n_tokens, dimension) of each item."""
        ...


def has_passages(space: EmbeddingSpace) -> TypeGuard[TokenSpace]:
    """Whether the best of an item's vectors answers a query of one."""
    return isinstance(space.encoder, PassageEncoder)


def query_vectors(encoder: Encoder, value: Any) -> Array:
    """(n_vectors, dimension) of what is asked: one from an encoder of passages, many from one that asks with many."""
    if isinstance(encoder, PassageEncoder):
        return encoder.encode_queries([value])
    if isinstance(encoder, QueryTokenEncoder):
        return encoder.encode_query_tokens([value])[0]
    tokens: Array = cast(TokenEncoder, encoder).encode_tokens([value])[0]
    return tokens


def best_matches(space: TokenSpace, vectors: Array, row: Array, k: int, *, proposals: int, filter: str | None) -> list[Candidate]:
    """The k best by MaxSim of `vectors` among the items nearest to `row`; of equals the first by item_id.

    Args:
        vectors: (n_tokens, dimension) unit rows of the query.
        row: (dimension,) unit row by which items are proposed.
        proposals: how many are compared exactly, at least k.
    """
    nearest = space.nearest(row, max(k, proposals), filter=filter)
    if not nearest:
        return []
    scores = levelled(max_sim(vectors, space.tokens([candidate.item.item_id for candidate in nearest])))
    candidates = [replace(c, score=float(score)) for c, score in zip(nearest, scores, strict=True)]
    return sorted(candidates, key=lambda c: (-(c.score or 0.0), c.item.item_id))[:k]
