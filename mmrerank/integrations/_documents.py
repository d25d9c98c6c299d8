"""What a framework hands in, as candidates: unique ids, texts, and pictures wherever `mmrerank/documents.py` looks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmrerank.documents import unique_ids
from mmrerank.types import Candidate, ImageHandle, Item


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDocument:
    """One document of a framework, as far as a reranker sees it."""

    name: str | None  # its id there, which may be missing or that of others too
    text: str | None
    picture: ImageHandle | None
    score: float | None


def candidates_of(documents: Sequence[ForeignDocument]) -> list[Candidate]:
    """Candidates in the order given, each with an id of its own.

    An id that nobody else has stays as it is, so that descriptors and messages find it; others get their place.
    """
    items = zip(unique_ids([one.name for one in documents]), documents, strict=True)
    return [Candidate(item=Item(item_id=name, text=one.text or None, image=one.picture), score=one.score) for name, one in items]
