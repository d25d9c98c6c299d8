"""Candidates -> a permutation of them, and the descriptors that some rerankers ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from mmrerank.types import Array, Candidate, Modality, Query, Ranking


@runtime_checkable
class Reranker(Protocol):
    """Candidates -> a permutation of them."""

    name: str

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """All candidates, best first, and none but these; scores are None where only the order is known. Repairs, fallbacks and what could
        not be shown stand in the notes.

        Raises:
            InputError: the query is none that it works on.
            BackendError: the model that it asks cannot be reached.
        """
        ...


@runtime_checkable
class RerankerAround(Protocol):
    """A reranker that works through another one."""

    within: Reranker


def innermost(reranker: Reranker) -> Reranker:
    """The reranker that does the work: the part itself, or the one within all that stand around it."""
    while isinstance(reranker, RerankerAround):
        reranker = reranker.within
    return reranker


@runtime_checkable
class PointwiseReranker(Protocol):
    """A reranker that says whether a score depends on the query and its candidate alone."""

    pointwise: bool


@runtime_checkable
class InstructedReranker(Protocol):
    """A reranker that says whether it heeds the instruction of a query."""

    takes_instruction: bool


@runtime_checkable
class DeclaredView(Protocol):
    """What the module of a reranker declares: what it looks at of a candidate. One that declares nothing may look at all there is."""

    LOOKS_AT: frozenset[Modality]


class DescriptorSource(Protocol):
    """Descriptors for rerankers that work on them."""

    def of_query(self, query: Query) -> Array:
        """(D,) the row that the first stage searched with, or would."""
        ...

    def of_items(self, query: Query, item_ids: Sequence[str]) -> Array:
        """(n, D) float32 unit rows, in the space that the query's row is from."""
        ...


@runtime_checkable
class PartialDescriptors(Protocol):
    """A source of descriptors that some items may have none in. `of_items` is asked for the others."""

    def missing(self, query: Query, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why there is no row of some of these items, by id."""
        ...
