"""Which texts hold a term, and what that adds to their score: by term, then by text. Shared by the parts of a text index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrerank.types import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Postings:
    """The texts of term t are positions[starts[t] : starts[t + 1]]; what it adds to each lies at the same places."""

    vocabulary: Sequence[str]  # (n_terms,)
    weights: Array
    positions: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]  # (n_terms + 1,)

    def summed(self, terms: Sequence[int], count: int) -> Array:
        """(count,) what these terms add to each text, one after the other in float32; a term that comes twice counts twice."""
        scores = np.zeros(count, np.float32)
        for term in terms:
            part = slice(self.starts[term], self.starts[term + 1])
            scores[self.positions[part]] += self.weights[part]  # a text stands once among those of a term
        return scores


def weighted(terms: Sequence[Sequence[str]], mark: str, weight: float, **formula: Any) -> Postings:
    """BM25 over texts that are split into terms, times `weight`; each term gets `mark` before it."""
    from bm25s import BM25

    vocabulary: dict[str, int] = {}
    numbers = [[vocabulary.setdefault(term, len(vocabulary)) for term in text] for text in terms]
    if not vocabulary:  # bm25s divides by the mean length, which texts without a word do not have
        return constant([], mark, weight)
    bm25 = BM25(backend="numpy", **formula)
    bm25.index((numbers, dict(vocabulary)), create_empty_token=False, show_progress=False)
    return Postings(
        vocabulary=[mark + term for term in vocabulary],
        weights=(bm25.scores["data"] * np.float32(weight)).astype(np.float32),
        positions=bm25.scores["indices"],
        starts=bm25.scores["indptr"],
    )


def constant(terms: Sequence[Collection[str]], mark: str, weight: float) -> Postings:
    """`weight` for each text that holds a term, however often."""
    holders: dict[str, list[int]] = {}
    for position, text in enumerate(terms):
        for term in sorted(set(text)):
            holders.setdefault(mark + term, []).append(position)
    positions = np.array([position for numbers in holders.values() for position in numbers], np.int32)
    starts = np.cumsum([0, *map(len, holders.values())], dtype=np.int64)
    return Postings(vocabulary=list(holders), weights=np.full(len(positions), weight, np.float32), positions=positions, starts=starts)


def joined(parts: Sequence[Postings]) -> Postings:
    """The postings of parts that share no term, as one."""
    lengths = np.concatenate([np.diff(part.starts) for part in parts])
    return Postings(
        vocabulary=[term for part in parts for term in part.vocabulary],
        weights=np.concatenate([part.weights for part in parts]),
        positions=np.concatenate([part.positions for part in parts]),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
    )
