"""One query on its way: first stage, then the rerankers one after the other, with what each took.

retriever --(depth candidates)--> reranker --(its own depth)--> reranker --> the k best
"""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias

from mmrerank.backends import backend_of
from mmrerank.errors import InputError
from mmrerank.parts import BY_BOTH, BY_DESCRIPTORS, StagedReranker, StageName, as_tuple, check_name, make, requires, stage_of
from mmrerank.types import (
    Answer,
    Answerer,
    Array,
    Backend,
    Candidate,
    Cost,
    Item,
    Query,
    Ranking,
    Reranker,
    Retriever,
    RowRetriever,
    StreamingAnswerer,
)

DEPTH = 100  # candidates that a reranker sees where nothing says how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One line of a result. `rank` counts from 1; `reason` says why the item stands there."""

    rank: int
    item: Item
    score: float | None
    raw_score: float | None
    calibrated_score: float | None
    reason: str


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
        return self.ranking.notes.cost


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The hits of one query, best first, and the stages they went through."""

    query: Query
    hits: tuple[Hit, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskResult:
    """A cited answer, and the search whose pages it was read from."""

    answer: Answer
    search: SearchResult
    answered_by: str
    seconds: float  # of answering alone


def ask(searched: SearchResult, answerer: Answerer, *, on_text: Callable[[str], None] | None = None) -> AskResult:
    """The answer to a query from the hits of its search; `on_text` gets its words as they come, or at once where none stream."""
    start = time.perf_counter()
    pages = [
        Candidate(item=hit.item, score=hit.score, raw_score=hit.raw_score, calibrated_score=hit.calibrated_score) for hit in searched.hits
    ]
    answer = _answer(answerer, searched.query, pages, on_text)
    ids = {page.item.item_id for page in pages}
    strangers = [citation.item.item_id for citation in answer.citations if citation.item.item_id not in ids]
    if strangers:
        raise InputError(f"the answerer {answerer.name!r} cites {strangers[0]!r}, a page it did not get")
    return AskResult(answer=answer, search=searched, answered_by=answerer.name, seconds=time.perf_counter() - start)


def _answer(answerer: Answerer, query: Query, pages: Sequence[Candidate], on_text: Callable[[str], None] | None) -> Answer:
    if on_text is None or not isinstance(answerer, StreamingAnswerer):
        answer = answerer.answer(query, pages)
        if on_text is not None:
            on_text(answer.text)
        return answer
    words: list[str] = []

    def take(text: str) -> None:
        words.append(text)
        on_text(text)

    answer = answerer.stream(query, pages, take)
    if not "".join(words).strip():  # nothing was asked, or nothing said
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
            raise InputError(message, hint=f"Use the retriever {BY_DESCRIPTORS!r} or {BY_BOTH!r}.")
        return self._retriever


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedReranker:
    """A reranker by its name, with what was opened for it before there is anything to rerank: its own model, the key of its service."""

    stage: StageName
    backend: Backend | None = None  # the model that the name says; None: opened when the part is made
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, name: str, *, open_backend: Callable[[str], Backend | None] = backend_of, api_key: str | None = None) -> NamedReranker:
        """The reranker of that name.

        Args:
            open_backend: opens the model that the name says, where it says one.

        Raises:
            UnknownName: there is no such reranker, option or backend.
            InputError: an option has a wrong type, or the model cannot be opened.
        """
        check_name(name, station="rerankers")
        stage = stage_of(name)
        return cls(stage=stage, backend=None if stage.backend is None else open_backend(stage.backend), api_key=api_key)

    @property
    def needs(self) -> frozenset[str]:
        """What must still be passed to make it."""
        return requires(str(self.stage), station="rerankers").needed

    def made(self, **resources: Any) -> Reranker:
        """The part; its own model, where the name says one, stands in place of `backend` among the resources."""
        own: dict[str, Any] = {} if self.api_key is None else {"api_key": self.api_key}
        if self.stage.backend is not None:
            own["backend"] = self.backend or backend_of(self.stage.backend)
        part: Reranker = make(self.stage, station="rerankers", **{**resources, **own})
        return part


AnyReranker: TypeAlias = "str | Reranker | NamedReranker"


def rerankers_of(rerankers: Sequence[AnyReranker], retriever: Retriever, backend: Backend | None = None) -> list[Reranker]:
    """The parts of these rerankers, parts as they are; what the others ask for comes from the first stage and the backend."""
    resources = {"descriptors": QueryDescriptors(retriever), **({} if backend is None else {"backend": backend})}
    named = [NamedReranker.of(one) if isinstance(one, str) else one for one in as_tuple(rerankers)]
    return [one.made(**resources) if isinstance(one, NamedReranker) else one for one in named]


def search(
    query: Query, retriever: Retriever, rerankers: Sequence[Reranker] = (), *, k: int = 10, depth: int | None = None
) -> SearchResult:
    """The k best items for a query.

    Args:
        depth: how many candidates those rerankers see whose names say no depth of their own; the larger of k and 100 when None.
            A reranker sees the first of the order before it. What lies beyond its depth keeps its order behind them, without a
            score, since theirs would be on another scale. What it holds to be irrelevant is neither passed on nor a hit, and then
            neither is what lies beyond its depth, which it did not judge.

    Raises:
        InputError: k or depth is below 1.
    """
    if k < 1 or (depth is not None and depth < 1):
        raise InputError(f"k and depth must be at least 1; got k={k}, depth={depth}")
    depths = [_depth_of(reranker, depth or max(k, DEPTH)) for reranker in rerankers]
    deepest = max(depths, default=k)
    first = _timed(retriever.name, lambda: retriever.retrieve(query, max(k, deepest)))
    stages, order = [first], _relevant(first.ranking)
    if rerankers and first.ranking.notes.irrelevant:
        order = order[:deepest]
    for reranker, own in zip(rerankers, depths, strict=True):
        head, rest = order[:own], order[own:]
        stage = _timed(reranker.name, partial(reranker.rerank, query, head))
        _check_permutation(reranker.name, head, stage.ranking.candidates)
        beyond = () if stage.ranking.notes.irrelevant else tuple(map(_without_scores, rest))
        stages.append(replace(stage, beyond=beyond))
        order = order_after(stages[-1])
    reasons = ChainMap(*(dict(stage.ranking.notes.reasons) for stage in reversed(stages)))  # the last stage that gives one
    return SearchResult(
        query=query, hits=tuple(_hit(rank, candidate, reasons) for rank, candidate in enumerate(order[:k], 1)), stages=tuple(stages)
    )


def order_after(stage: Stage) -> tuple[Candidate, ...]:
    """All candidates in the order after a stage: those it ranked and holds to be relevant, then what lies beyond its depth."""
    return (*_relevant(stage.ranking), *stage.beyond)


def _depth_of(reranker: Reranker, depth: int) -> int:
    return reranker.depth if isinstance(reranker, StagedReranker) and reranker.depth is not None else depth


def _without_scores(candidate: Candidate) -> Candidate:
    return replace(candidate, score=None, raw_score=None, calibrated_score=None)


def _relevant(ranking: Ranking) -> tuple[Candidate, ...]:
    return tuple(candidate for candidate in ranking.candidates if candidate.item.item_id not in ranking.notes.irrelevant)


def _timed(name: str, work: Callable[[], Ranking]) -> Stage:
    start = time.perf_counter()
    ranking = work()
    notes = ranking.notes
    messages = notes.messages if notes.status == "ok" else (notes.status, *notes.messages)
    return Stage(name=name, seconds=time.perf_counter() - start, notes=messages, ranking=ranking)


def _check_permutation(name: str, head: Sequence[Candidate], returned: Sequence[Candidate]) -> None:
    before, after = sorted(c.item.item_id for c in head), sorted(c.item.item_id for c in returned)
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
