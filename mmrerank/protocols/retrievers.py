"""Query -> first ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from mmrerank.protocols.corpus import CorpusCapabilities, EmbeddingSpace
from mmrerank.types import Array, Query, Ranking


@runtime_checkable
class Retriever(Protocol):
    """Query -> first ranking."""

    name: str

    def retrieve(self, query: Query, k: int) -> Ranking:
        """At most k items of the corpus, best first, each once; fewer where no more are found or the query's filter lets through.

        Raises:
            InputError: the query is none that it works on.
        """
        ...


@runtime_checkable
class RowRetriever(Retriever, Protocol):
    """A retriever that searches with one row in one encoder's space, and shows both."""

    def query_row(self, query: Query) -> Array:
        """(dimension,) unit row that `retrieve` searches with."""
        ...

    def space(self, query: Query) -> EmbeddingSpace:
        """Where it searches."""
        ...


@runtime_checkable
class CompositeRetriever(Protocol):
    """A retriever that merges the rankings of others."""

    parts: Sequence[Retriever]


@runtime_checkable
class SelectiveRetriever(Protocol):
    """What the module of a retriever declares that does not work on every collection."""

    def works_on(self, corpus: CorpusCapabilities) -> bool:
        """Whether it can search there, with its default options."""
        ...
