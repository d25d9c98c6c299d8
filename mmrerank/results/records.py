"""The records of results. They iterate over what they hold, best first, and have its length."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mmrerank.results.showing import Row, as_html, as_text
from mmrerank.types import Answer, Candidate, Cost, Explanation, Item, Query, Ranking

FIRST_STAGE_ELSEWHERE = "given"  # the name of a first stage that was run elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One line of a result. `rank` counts from 1; `reason` says why the item stands there."""

    rank: int
    item: Item
    score: float | None
    raw_score: float | None
    calibrated_score: float | None
    reason: str
    explanation: Explanation | None = None  # where a stage has more to say than the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What one station did for one query. The order after it is its ranking, without what it holds to be irrelevant, then `beyond`."""

    name: str
    seconds: float
    notes: tuple[str, ...]
    ranking: Ranking
    beyond: tuple[Candidate, ...] = ()  # what lies beyond a reranker's depth, as it came, without scores

    @property
    def cost(self) -> Cost:
        """What it asked of models."""
        return self.ranking.notes.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The hits of one query, best first, and the stages they went through.

    >>> len(SearchResult(query=Query(text="a red door"), hits=(), stages=()))
    0
    """

    query: Query
    hits: tuple[Hit, ...]
    stages: tuple[Stage, ...]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)

    def __getitem__(self, place: int) -> Hit:
        return self.hits[place]

    def __str__(self) -> str:
        return as_text(self._title(), self._rows(), self._notes())

    def _repr_html_(self) -> str:
        return as_html(self._title(), self._rows(), self._notes())

    def _title(self) -> str:
        query = self.query
        parts = [f"{len(query.images)} picture{'s' if len(query.images) > 1 else ''}" if query.images else "", query.text or ""]
        parts += [f"not {text}" for text in query.exclude_text] + ["not like a picture"] * bool(query.exclude_images)
        way = ", then ".join(stage.name.split("(")[0] for stage in self.stages if stage.name != FIRST_STAGE_ELSEWHERE)
        return f"{' + '.join(filter(None, parts))}: {len(self.hits)} {'hit' if len(self.hits) == 1 else 'hits'}" + (
            f" by {way}" if way else ""
        )

    def _rows(self) -> list[Row]:
        return [
            Row(rank=h.rank, name=h.item.item_id, score=h.score, reason=h.reason, text=h.item.text or "", image=h.item.image)
            for h in self.hits
        ]

    def _notes(self) -> list[str]:
        return [f"{stage.name.split('(')[0]}: {note}" for stage in self.stages for note in stage.notes]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskResult:
    """A cited answer, and the search whose pages it was read from."""

    answer: Answer
    search: SearchResult
    answered_by: str
    seconds: float  # of answering alone

    def __str__(self) -> str:
        return as_text(self.answer.text, self._rows(), self.answer.notes.messages)

    def _repr_html_(self) -> str:
        return as_html(self.answer.text, self._rows(), self.answer.notes.messages)

    def _rows(self) -> list[Row]:
        nearest = self.answer.nearest
        pages = [(c, c.quote) for c in self.answer.citations] + ([] if nearest is None else [(nearest, f"nearest: {nearest.quote}")])
        return [Row(rank=n, name=c.item.item_id, score=c.score, reason=words, image=c.item.image) for n, (c, words) in enumerate(pages, 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranked:
    """One document in its new place. `index` is its place among the documents as they came, from 0; `rank` counts from 1."""

    rank: int
    index: int
    document: Any  # as it came
    score: float | None
    raw_score: float | None
    calibrated_score: float | None
    reason: str
    explanation: Explanation | None = None  # where a reranker has more to say than the reason


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankResult:
    """Documents in their new order, best first, and what the rerankers have to say of it."""

    documents: tuple[Reranked, ...]
    search: SearchResult  # the same as hits, with the stages
    document_notes: tuple[str, ...] = ()  # on the documents as they came

    @property
    def order(self) -> list[int]:
        """The places of the documents as they came, best first."""
        return [document.index for document in self.documents]

    @property
    def scores(self) -> list[float | None]:
        """In the new order; None where the method gives an order only."""
        return [document.score for document in self.documents]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was mended, left out or could not be shown; empty where all went as it should."""
        return (*self.document_notes, *self.search._notes())

    def __iter__(self) -> Iterator[Reranked]:
        return iter(self.documents)

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, place: int) -> Reranked:
        return self.documents[place]

    def __str__(self) -> str:
        return as_text(self.search._title(), self._rows(), self.notes)

    def _repr_html_(self) -> str:
        return as_html(self.search._title(), self._rows(), self.notes)

    def _rows(self) -> list[Row]:
        return [_row(d, hit) for d, hit in zip(self.documents, self.search.hits, strict=True)]


def _row(document: Reranked, hit: Hit) -> Row:
    item, name = hit.item, f"[{document.index}] {_short(hit.item)}"
    return Row(rank=document.rank, name=name, score=document.score, reason=document.reason, text=item.text or "", image=item.image)


def _short(item: Item) -> str:
    """The beginning of a document's text, or its id."""
    words = " ".join((item.text or "").split())
    return item.item_id if not words else words if len(words) <= 60 else f"{words[:59].rstrip()}…"
