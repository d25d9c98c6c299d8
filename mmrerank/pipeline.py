"""One query on its way: first stage, then the rerankers one after the other, with what each took.

retriever --(depth candidates)--> reranker --> reranker --> the k best
"""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from mmrerank.errors import InputError
from mmrerank.parts import as_tuple, make
from mmrerank.results import GIVEN, AskResult, Hit, SearchResult, Stage
from mmrerank.types import Answer, Answerer, Array, Backend, Candidate, Encoder, Query, Ranking, Reranker, Retriever, RowRetriever


def ask(searched: SearchResult, answerer: Answerer, *, on_text: Callable[[str], None] | None = None) -> AskResult:
    """The answer to a query from the hits of its search; `on_text` gets its words as they come, or at once where none stream."""
    start = time.perf_counter()
    pages = [
        Candidate(item=hit.item, score=hit.score, raw_score=hit.raw_score, calibrated_score=hit.calibrated_score) for hit in searched.hits
    ]
    answer = _answer(answerer, searched.query, pages, on_text)
    held = {page.item.item_id for page in pages}
    strangers = [citation.item.item_id for citation in answer.citations if citation.item.item_id not in held]
    if strangers:
        raise InputError(f"the answerer {answerer.name!r} cites {strangers[0]!r}, a page it did not get")
    return AskResult(answer=answer, search=searched, answered_by=answerer.name, seconds=time.perf_counter() - start)


def _answer(answerer: Answerer, query: Query, pages: Sequence[Candidate], on_text: Callable[[str], None] | None) -> Answer:
    streaming: Callable[..., Answer] | None = getattr(answerer, "stream", None)
    if on_text is None or streaming is None:
        answer = answerer.answer(query, pages)
        if on_text is not None:
            on_text(answer.text)
        return answer
    came: list[str] = []

    def take(text: str) -> None:
        came.append(text)
        on_text(text)

    answer = streaming(query, pages, take)
    if not "".join(came).strip():  # nothing was asked, or nothing said
        on_text(answer.text)
    return answer


class QueryDescriptors:
    """Descriptors for rerankers that work on them, in the space and by the row that the first stage searched with."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def of_query(self, query: Query) -> Array:
        """(D,) the query's row.

        Raises:
            InputError: the first stage works without descriptors.
        """
        return self._rows_of().query_row(query)

    def of_items(self, query: Query, item_ids: Sequence[str]) -> Array:
        """(n, D) rows of the items."""
        return self._rows_of().space(query).rows(item_ids)

    def _rows_of(self) -> RowRetriever:
        if not isinstance(self._retriever, RowRetriever):
            message = f"the first stage {self._retriever.name!r} searches without descriptors, which the reranker works on"
            raise InputError(message, hint="Use the retriever 'dense' or 'composed'.")
        return self._retriever


def rerankers_of(names: Sequence[str | Reranker], retriever: Retriever, backend: Backend | None = None) -> list[Reranker]:
    """The rerankers of these names, parts as they are; what they ask for comes from the first stage and the backend."""
    given = {"descriptors": QueryDescriptors(retriever), **({} if backend is None else {"backend": backend})}
    return [make(name, station="rerankers", **given) if isinstance(name, str) else name for name in as_tuple(names)]


def search(
    query: Query, retriever: Retriever, rerankers: Sequence[Reranker] = (), *, k: int = 10, depth: int | None = None
) -> SearchResult:
    """The k best items for a query.

    Args:
        depth: how many candidates the rerankers see; 100 at most when None. What lies beyond keeps its order behind
            them, without a score, since theirs would be on another scale. What a reranker holds to be irrelevant is
            neither passed on nor a hit, and then neither is what lies beyond, which nobody judged.

    Raises:
        InputError: k or depth is below 1.
    """
    if k < 1 or (depth is not None and depth < 1):
        raise InputError(f"k and depth must be at least 1; got k={k}, depth={depth}")
    seen = (depth or max(k, 100)) if rerankers else k
    stages = [_timed(retriever.name, lambda: retriever.retrieve(query, max(k, seen)))]
    rest = stages[0].ranking.candidates[seen:]
    for reranker in rerankers:
        head = _relevant(stages[-1].ranking)[:seen]
        stages.append(_timed(reranker.name, partial(reranker.rerank, query, head)))
        _check_permutation(reranker.name, head, stages[-1].ranking.candidates)
    ordered = _relevant(stages[-1].ranking)
    if not any(stage.ranking.notes.irrelevant for stage in stages):
        ordered = (*ordered, *(replace(c, score=None, raw_score=None, calibrated_score=None) for c in rest))
    reasons = ChainMap(*(dict(stage.ranking.notes.reasons) for stage in reversed(stages)))  # the last stage that gives one
    return SearchResult(
        query=query, hits=tuple(_hit(rank, candidate, reasons) for rank, candidate in enumerate(ordered[:k], 1)), stages=tuple(stages)
    )


def _relevant(ranking: Ranking) -> tuple[Candidate, ...]:
    return tuple(candidate for candidate in ranking.candidates if candidate.item.item_id not in ranking.notes.irrelevant)


def _timed(name: str, work: Callable[[], Ranking]) -> Stage:
    start = time.perf_counter()
    ranking = work()
    notes = ranking.notes
    messages = notes.messages if notes.status == "ok" else (notes.status, *notes.messages)
    return Stage(name=name, seconds=time.perf_counter() - start, notes=messages, ranking=ranking)


def _check_permutation(name: str, given: Sequence[Candidate], returned: Sequence[Candidate]) -> None:
    before, after = sorted(c.item.item_id for c in given), sorted(c.item.item_id for c in returned)
    if before != after:
        raise InputError(f"the reranker {name!r} returned {len(after)} candidates that are no permutation of the {len(before)} it got")


def _hit(rank: int, candidate: Candidate, reasons: Mapping[str, str]) -> Hit:
    return Hit(
        rank=rank,
        item=candidate.item,
        score=candidate.score,
        raw_score=candidate.raw_score,
        calibrated_score=candidate.calibrated_score,
        reason=reasons.get(candidate.item.item_id, ""),
    )


def rerank_candidates(
    query: Query, candidates: Sequence[Candidate], rerankers: Sequence[Reranker], *, depth: int | None = None, k: int | None = None
) -> SearchResult:
    """A search result whose first stage are the candidates as they come: those of another system need no collection.

    Args:
        rerankers: one after the other.
        depth, k: how many of the candidates they see, and how many come back; all when None.
    """
    count = max(len(candidates), 1)
    return search(query, _FirstStage(candidates), rerankers, k=min(k or count, count), depth=min(depth or count, count))


class _FirstStage:
    """A first stage that was run elsewhere."""

    name = GIVEN

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = tuple(candidates)

    def retrieve(self, query: Query, k: int) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=self._candidates[:k])


class EncodedOnTheFly:
    """Descriptors of candidates that no collection holds: their pictures, or texts where all have none, are encoded now."""

    def __init__(self, encoder: Encoder, candidates: Sequence[Candidate]) -> None:
        self._encoder = encoder
        self._items = {candidate.item.item_id: candidate.item for candidate in candidates}

    def of_query(self, query: Query) -> Array:
        """(D,) unit row: the mean of the query's pictures, or its text."""
        values: list[Any] = [image.open() for image in query.images] or [query.text]
        mean = self._encoder.encode(values).mean(axis=0)
        row: Array = (mean / max(float((mean**2).sum()) ** 0.5, 1e-12)).astype("float32")
        return row

    def of_items(self, query: Query, item_ids: Sequence[str]) -> Array:
        """(n, D) unit rows.

        Raises:
            InputError: an item has nothing that the encoder reads.
        """
        return self._encoder.encode(list(self._values(item_ids)))

    def _values(self, item_ids: Sequence[str]) -> Iterator[Any]:
        for item_id in item_ids:
            item = self._items[item_id]
            if self._encoder.reads == "image" and item.image is not None:
                yield item.image.open()
            elif self._encoder.reads == "text" and item.text:
                yield item.text
            else:
                raise InputError(f"{item_id!r} has no {self._encoder.reads} for the encoder {self._encoder.name!r}")
