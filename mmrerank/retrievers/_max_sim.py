"""Late interaction in numpy: pages of any number of token vectors, without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mmrerank.errors import ShapeError
from mmrerank.types import Array

BLOCK = 100_000  # token vectors of pages compared at once: 8 MB of scores for a query of 20


def max_sim(query: Array, pages: Sequence[Array]) -> Array:
    """(n_pages,) float32 late-interaction scores: the sum over query tokens of the best dot product within the page.

    Args:
        query: (n_query_tokens, dim) float32, unit rows; for unit rows the scores lie within ±n_query_tokens.
        pages: of each page (n_tokens, dim) float32, unit rows. They stand one after the other in one matrix, so a short page
            is never padded, and cannot gain from zeros.

    Raises:
        ShapeError: the dims differ, or a page has no tokens.

    Source: Khattab & Zaharia 2020 (ColBERT), section 3.3.

    >>> max_sim(np.eye(2, dtype="float32"), [np.eye(2, dtype="float32"), -np.eye(2, dtype="float32")[:1]]).tolist()
    [2.0, -1.0]
    """
    for number, page in enumerate(pages):
        if page.ndim != 2 or not len(page) or query.ndim != 2 or page.shape[1] != query.shape[1]:
            raise ShapeError(f"expected pages of shape (1 or more, dim) for a query of {query.shape}; page {number} has {page.shape}")
    parts = [_of_block(query, block) for block in _blocks(pages)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _blocks(pages: Sequence[Array]) -> Iterator[list[Array]]:
    block: list[Array] = []
    for page in pages:
        if block and sum(map(len, block)) + len(page) > BLOCK:
            yield block
            block = []
        block.append(page)
    if block:
        yield block


def _of_block(query: Array, pages: list[Array]) -> Array:
    starts = np.cumsum([0, *(len(page) for page in pages[:-1])])
    products = query @ np.concatenate(pages).T  # (n_query_tokens, tokens of all pages)
    best = np.maximum.reduceat(products, starts, axis=1)  # (n_query_tokens, n_pages)
    scores: Array = best.sum(axis=0, dtype=np.float64).astype(np.float32)
    return scores
