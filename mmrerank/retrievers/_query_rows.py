"""Query -> the one row that an encoder's space is searched with. Shared by the dense retrievers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from mmrerank.errors import InputError
from mmrerank.protocols import Encoder, FusingEncoder, QueryEncoder, QueryTokenEncoder
from mmrerank.types import Array, Candidate, EncodedPart, Modality, Notes, Query, Ranking

T = TypeVar("T")


class QueryCache(Generic[T]):
    """A function of a query that keeps its last results: rerankers ask for the row of the first stage again.

    It knows a query by identity: pictures need not be hashable, and a file may have changed since an equal query came.
    """

    def __init__(self, compute: Callable[[Query], T], size: int = 8) -> None:
        self._compute = compute
        self._pairs: deque[tuple[Query, T]] = deque(maxlen=size)

    def __call__(self, query: Query) -> T:
        for other, result in tuple(self._pairs):
            if other is query:
                return result
        result = self._compute(query)
        self._pairs.append((query, result))
        return result


def modalities(query: Query) -> frozenset[Modality]:
    """What the query is made of, exclusions included."""
    texts: frozenset[Modality] = frozenset({"text"} if query.text or query.exclude_text else ())
    return texts | frozenset({"image"} if query.images or query.exclude_images else ())


def text_row(encoder: Encoder, texts: Sequence[str], *, normalise: bool = True) -> Array:
    """(dimension,) mean of the rows of the texts."""
    return mean_row(_encoded(encoder, list(texts), normalise=normalise), (), unit=normalise)


def image_row(encoder: Encoder, query: Query, *, normalise: bool = True) -> Array:
    """(dimension,) weighted mean of the rows of the query's pictures."""
    rows = _encoded(encoder, [image.open() for image in query.images], normalise=normalise)
    return mean_row(rows, query.weights, unit=normalise)


def _encoded(encoder: Encoder, values: Sequence[Any], *, normalise: bool = True) -> Array:
    """(n, dimension) rows of what is asked, by the side of the encoder that is for it where it has two."""
    if isinstance(encoder, QueryTokenEncoder):
        return encoder.pooled(encoder.encode_query_tokens(values), normalise=normalise)
    encode = encoder.encode_queries if isinstance(encoder, QueryEncoder) else encoder.encode
    rows: Array = encode(values, normalise=normalise)
    return rows


def fused_row(encoder: FusingEncoder, query: Query, *, instruction: str | None) -> Array:
    """(dimension,) unit row that an encoder makes of the query's pictures and its text together, pictures first.

    Raises:
        InputError: the pictures have different weights, which one pass through a model cannot follow.
    """
    if len(set(query.weights)) > 1:
        raise InputError(
            f"query {query.query_id!r} weighs its pictures {list(query.weights)}; an encoder that fuses them takes them all alike",
            hint="Leave the weights out, or sum the vectors of each: composed(fuse=False).",
        )
    parts: list[EncodedPart] = [*(image.open() for image in query.images), *([query.text] if query.text else [])]
    row: Array = encoder.encode_fused_queries([parts], instruction=instruction)[0]
    return row


def summed_row(encoder: Encoder, query: Query, *, alpha: float, normalise: bool) -> Array:
    """(dimension,) unit((1 - alpha) image + alpha text); a query of one modality is that one.

    Args:
        alpha: weight of the text, 0..1.
        normalise: whether image and text are brought to length 1 before the sum.
    """
    parts: list[tuple[float, Array]] = []
    if query.images:
        parts.append((1 - alpha if query.text else 1.0, image_row(encoder, query, normalise=normalise)))
    if query.text:
        parts.append((alpha if query.images else 1.0, text_row(encoder, [query.text], normalise=normalise)))
    return unit_row(sum(weight * row for weight, row in parts[1:]) + parts[0][0] * parts[0][1])


def mean_row(rows: Array, weights: Sequence[float], *, unit: bool) -> Array:
    """(D,) weighted mean of (n, D) rows; of unit length on request.

    Raises:
        InputError: the weights sum to nothing.
    """
    if weights and abs(sum(weights)) < 1e-9:
        raise InputError(f"the weights of the query's pictures sum to 0: {list(weights)}")
    mean = np.average(rows, axis=0, weights=weights or None).astype(np.float32)
    return unit_row(mean) if unit else mean


def unit_row(row: Array) -> Array:
    """(dimension,) float32: the row at length 1.

    Raises:
        InputError: it has no direction, since its parts cancel out.
    """
    length = float(np.linalg.norm(row))
    if not np.isfinite(length) or length < 1e-6:
        raise InputError("the parts of the query cancel each other out", hint="Change the weights, alpha or the exclusions.")
    return (row / length).astype(np.float32)


def without_excluded(row: Array, encoder: Encoder, query: Query, weight: float) -> Array:
    """(dimension,) float32: the unit row less `weight` times each excluded text and picture, at length 1 again.

    Raises:
        InputError: nothing is left of it.
    """
    rows = [text_row(encoder, [text]) for text in query.exclude_text]
    rows += list(_encoded(encoder, [image.open() for image in query.exclude_images])) if query.exclude_images else []
    return unit_row(row - weight * np.sum(rows, axis=0)) if rows else row


def ranked(query: Query, candidates: Sequence[Candidate], measure: str) -> Ranking:
    """The ranking of these candidates, with the score under its name as the reason of each."""
    reasons = {c.item.item_id: f"{measure} {c.score:.3f}" for c in candidates}
    return Ranking(query_id=query.query_id, candidates=tuple(candidates), notes=Notes(reasons=reasons))
