"""What a collection is to those who search it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mmrerank.protocols.encoders import Encoder
from mmrerank.types import Array, Candidate, Item, Modality, PageNames


class EmbeddingSpace(Protocol):
    """One encoder of a collection with the index over its descriptors."""

    @property
    def encoder(self) -> Encoder: ...

    def nearest(self, row: Array, k: int, *, filter: str | None = None) -> list[Candidate]:
        """The k items nearest to a (dimension,) row, best first; the score is the exact cosine, ties go by item_id."""
        ...

    def rows(self, item_ids: Sequence[str]) -> Array:
        """(n, dimension) float32 descriptors of these items."""
        ...


@runtime_checkable
class PartialSpace(Protocol):
    """A space that says which items have no descriptor in it."""

    def missing(self, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why there is no row of some of these items, by id."""
        ...


class Corpus(Protocol):
    """What a retriever may ask of a collection."""

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        """The space of the named encoder, or of the first that takes these modalities.

        Raises:
            InputError: the collection has none.
        """
        ...

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        """The k items whose text matches best by BM25, best first; items that share no term are left out."""
        ...

    def idf(self, text: str) -> Mapping[str, float]:
        """The terms of a question with how rare each is among the texts of the collection, above 0; one that no text has too."""
        ...

    def pages(self, names: PageNames, k: int, *, filter: str | None = None) -> list[Item]:
        """Up to k pages of these names, whatever their words, document by document; what is printed on them before their number."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusCapabilities:
    """What a collection has to search by."""

    has_text: bool
    encoders: tuple[Encoder, ...]

    def takes(self, *modalities: Modality) -> bool:
        """Whether one of its encoders takes all of these."""
        return any(encoder.takes >= frozenset(modalities) for encoder in self.encoders)
