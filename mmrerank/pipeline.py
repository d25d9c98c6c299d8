"""One query on its way: first stage, then the rerankers one after the other, with what each took.

retriever --(depth candidates)--> reranker --(its own depth)--> reranker --> the k best
"""

from __future__ import annotations

import time
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np

from mmrerank.backends import backend_of
from mmrerank.encoders import prepared_item, reads_both, rows_of
from mmrerank.errors import FormatError, InputError
from mmrerank.parts import BY_BOTH, BY_DESCRIPTORS, StagedReranker, StageName, as_tuple, check_name, make, requires, stage_of
from mmrerank.protocols import (
    Answerer,
    Backend,
    EmbeddingSpace,
    Encoder,
    InstructedReranker,
    PartialSpace,
    Reranker,
    Retriever,
    RowRetriever,
    StreamingAnswerer,
    innermost,
)
from mmrerank.results import FIRST_STAGE_ELSEWHERE, AskResult, Hit, SearchResult, Stage
from mmrerank.types import Answer, Array, Candidate, Explanation, Item, Modality, Query, Ranking

DEPTH = 100  # candidates that a reranker sees where nothing says how many
ENCODED_AT_ONCE = 64  # candidates whose pictures are in memory together


def ask(searched: SearchResult, answerer: Answerer, *, on_text: Callable[[str], None] | None = None) -> AskResult:
    """The answer to a query from the hits of its search; `on_text` gets its words as they come, or at once where none stream.

    Raises:
        InputError: there is no such answerer, it cites a page that it did not get, or `on_text` cannot be called.
    """
    if not isinstance(answerer, Answerer):
        raise InputError(f"an answerer is a name, or a part with `name` and `answer`; got {type(answerer).__name__}")
    if on_text is not None and not callable(on_text):
        raise InputError(f"on_text is called with the words of the answer; got {type(on_text).__name__}")
    start = time.perf_counter()
    pages = [
        Candidate(item=hit.item, score=hit.score, raw_score=hit.raw_score, calibrated_score=hit.calibrated_score) for hit in searched.hits
    ]
    answer = _answer(answerer, searched.query, pages, on_text)
    ids = {page.item.item_id for page in pages}
    named = (*answer.citations, *(() if answer.nearest is None else (answer.nearest,)))
    strangers = [citation.item.item_id for citation in named if citation.item.item_id not in ids]
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

    def missing(self, query: Query, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why some of the items have no row there, by id."""
        space = self._rows_of().space(query)
        return space.missing(item_ids) if isinstance(space, PartialSpace) else {}

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

    @classmethod
    def with_key(cls, name: str, api_key: str | None) -> NamedReranker:
        """The reranker of that name; the key goes to the server of the model that the name says, else to the service that it asks."""
        own = stage_of(name).backend is not None
        return cls.of(name, open_backend=lambda model: backend_of(model, api_key), api_key=None if own else api_key)

    @property
    def name(self) -> str:
        """The name that gives this stage."""
        return str(self.stage)

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
    for one in as_tuple(rerankers):
        check_reranker(one)
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
    k, depth = check_count("k", k), None if depth is None else check_count("depth", depth)
    _check_stages(retriever, rerankers)
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
        stages.append(replace(stage, beyond=beyond, notes=(*stage.notes, *_instruction_notes(query, reranker))))
        order = order_after(stages[-1])
    # of each item what the last stage says that says something
    reasons = ChainMap(*(dict(stage.ranking.notes.reasons) for stage in reversed(stages)))
    explanations = ChainMap(*(dict(stage.ranking.notes.explanations) for stage in reversed(stages)))
    hits = tuple(_hit(rank, candidate, reasons, explanations) for rank, candidate in enumerate(order[:k], 1))
    return SearchResult(query=query, hits=hits, stages=tuple(stages))


def _instruction_notes(query: Query, reranker: Reranker) -> tuple[str, ...]:
    """That the instruction of the query means nothing to a reranker."""
    method = innermost(reranker)
    heeded = isinstance(method, InstructedReranker) and method.takes_instruction
    return () if query.instruction is None or heeded else ("left aside, since this method takes none: the instruction of the query",)


def check_count(name: str, value: Any) -> int:
    """The count that this is.

    Raises:
        InputError: it is no whole number from 1.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} must be a whole number, at least 1, and not {value!r}")
    return int(value)


def check_reranker(reranker: Any) -> None:
    """InputError unless this is what a reranker can be: a name or a part."""
    if not isinstance(reranker, str | Reranker | NamedReranker):
        raise InputError(f"a reranker is a name, or a part with `name` and `rerank`; got {type(reranker).__name__}")


def _check_stages(retriever: Any, rerankers: Sequence[Any]) -> None:
    if not isinstance(retriever, Retriever):
        raise InputError(f"a retriever is a name, or a part with `name` and `retrieve`; got {type(retriever).__name__}")
    for one in rerankers:
        check_reranker(one)


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
    if not isinstance(ranking, Ranking):
        raise InputError(f"the stage {name!r} returned a {type(ranking).__name__}; expected a Ranking")
    notes = ranking.notes
    messages = notes.messages if notes.status == "ok" else (notes.status, *notes.messages)
    return Stage(name=name, seconds=time.perf_counter() - start, notes=messages, ranking=ranking)


def _check_permutation(name: str, head: Sequence[Candidate], returned: Sequence[Candidate]) -> None:
    before, after = sorted(c.item.item_id for c in head), sorted(c.item.item_id for c in returned)
    if before != after:
        raise InputError(f"the reranker {name!r} returned {len(after)} candidates that are no permutation of the {len(before)} it got")


def _hit(rank: int, candidate: Candidate, reasons: Mapping[str, str], explanations: Mapping[str, Explanation]) -> Hit:
    return Hit(
        rank=rank,
        item=candidate.item,
        score=candidate.score,
        raw_score=candidate.raw_score,
        calibrated_score=candidate.calibrated_score,
        reason=reasons.get(candidate.item.item_id, ""),
        explanation=explanations.get(candidate.item.item_id),
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
    k, depth = (count if number is None else min(check_count(name, number), count) for name, number in (("k", k), ("depth", depth)))
    return search(query, _FirstStage(candidates), rerankers, k=k, depth=depth)


class _FirstStage:
    """A first stage that was run elsewhere."""

    name = FIRST_STAGE_ELSEWHERE

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = tuple(candidates)

    def retrieve(self, query: Query, k: int) -> Ranking:
        return Ranking(query_id=query.query_id, candidates=self._candidates[:k])


class EncodedOnTheFly:
    """Descriptors of candidates that no collection holds: their pictures or texts, whichever the encoder reads of an item, are encoded
    when they are first asked for. The query gets the row by which a first stage would search for it: texts as questions, pictures and text
    fused, less the exclusions."""

    def __init__(self, encoder: Encoder, candidates: Sequence[Candidate]) -> None:
        self._space = _CandidateSpace(encoder, candidates)
        first: Retriever = make(BY_BOTH, station="retrievers", corpus=_OneSpace(self._space))
        self._descriptors = QueryDescriptors(first)

    def of_query(self, query: Query) -> Array:
        """(D,) unit row.

        Raises:
            InputError: the encoder does not take what the query is made of.
        """
        return self._descriptors.of_query(query)

    def of_items(self, query: Query, item_ids: Sequence[str]) -> Array:
        """(n, D) unit rows.

        Raises:
            InputError: an item has nothing that the encoder reads.
        """
        return self._space.rows(item_ids)

    def missing(self, query: Query, item_ids: Sequence[str]) -> Mapping[str, str]:
        """Why some of the items cannot be encoded, by id."""
        return self._space.missing(item_ids)


class _CandidateSpace:
    """Candidates as what a first stage searches in: only rows are asked of it."""

    def __init__(self, encoder: Encoder, candidates: Sequence[Candidate]) -> None:
        self.encoder = encoder
        self._items = {candidate.item.item_id: candidate.item for candidate in candidates}
        self._rows: dict[str, Array] = {}
        self._obstacles: dict[str, str] = {}

    def nearest(self, row: Array, k: int, *, filter: str | None = None) -> list[Candidate]:
        raise InputError("candidates that came from elsewhere are reranked, and not searched in")

    def rows(self, item_ids: Sequence[str]) -> Array:
        """(n, D) unit rows."""
        for item_id, why in self.missing(item_ids).items():
            raise InputError(f"{item_id!r} cannot be encoded: {why}")
        rows = [self._rows[item_id] for item_id in item_ids]
        return np.stack(rows) if rows else np.empty((0, self.encoder.dimension), np.float32)

    def missing(self, item_ids: Sequence[str]) -> Mapping[str, str]:
        new = [item_id for item_id in item_ids if item_id not in self._rows and item_id not in self._obstacles]
        for start in range(0, len(new), ENCODED_AT_ONCE):
            self._encode(new[start : start + ENCODED_AT_ONCE])
        return {item_id: self._obstacles[item_id] for item_id in item_ids if item_id in self._obstacles}

    def _encode(self, item_ids: Sequence[str]) -> None:
        values: dict[str, Any] = {}
        for item_id in item_ids:
            try:
                values[item_id] = self._value(self._items[item_id])
            except (InputError, FormatError) as error:
                self._obstacles[item_id] = error.message
        try:
            if values:
                self._rows |= dict(zip(values, rows_of(self.encoder, list(values.values())), strict=True))
        except (InputError, FormatError) as error:
            if len(values) == 1:
                self._obstacles[next(iter(values))] = error.message
                return
            for item_id in values:  # one of them spoils it for itself alone
                self._encode([item_id])

    def _value(self, item: Item) -> Any:
        value = prepared_item(self.encoder, item)
        if value is None:
            what = "neither a picture nor a text" if reads_both(self.encoder) else f"no {self.encoder.reads}"
            raise InputError(f"it has {what}, which the encoder {self.encoder.name!r} reads")
        return value


class _OneSpace:
    """One encoder's space as the corpus of a first stage."""

    def __init__(self, space: _CandidateSpace) -> None:
        self._space = space

    def space(self, *, takes: frozenset[Modality], encoder: str | None = None) -> EmbeddingSpace:
        part = self._space.encoder
        if not takes <= part.takes:
            raise InputError(
                f"the query is made of {' and '.join(sorted(takes))}; the encoder {part.name!r} takes {' and '.join(sorted(part.takes))}"
            )
        return self._space

    def matching(self, text: str, k: int, *, filter: str | None = None) -> list[Candidate]:
        raise InputError("candidates that came from elsewhere have no index over their texts")

    def idf(self, text: str) -> Mapping[str, float]:
        raise InputError("candidates that came from elsewhere have no index over their texts")
